"""Words that came from elsewhere, made harmless."""


def one_line(text: str, length: int = 300) -> str:
    """One line, no control characters, not too long."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:length]
