"""Words that came from elsewhere, made harmless."""

import unicodedata


def has_hidden_letters(text: str) -> bool:
    """Control characters, direction overrides, invisible letters and what stands for bytes that are no letters: what
    makes a name look like another, or like none.

    The joiner that emoji families are made of is no such letter between two visible ones.
    """
    families = text.replace("\u200d", "") if text.strip("\u200d \u3000") == text else text
    return "\ufffd" in text or any(
        unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for letter in families
    )


def one_line(text: str, length: int = 300) -> str:
    """One line, no control characters, not too long."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:length]
