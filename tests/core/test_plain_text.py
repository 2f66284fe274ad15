import pytest

from portal.core.plain_text import has_hidden_letters, one_line


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("学習 1", False),
        ("família 👨‍👩‍👧", False),
        ("\u202egpj.exe", True),
        ("a\x1b[31mb", True),
        ("\u200b\u200b", True),
        ("\u200d", True),
        ("a\0b", True),
        (b"a\xff".decode(errors="replace"), True),
    ],
)
def test_hidden_letters(text: str, hidden: bool) -> None:
    assert has_hidden_letters(text) is hidden


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  two\nlines\t and more ", "two lines and more"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\0b\u2028c", "a b c"),
        ("学習　完了", "学習 完了"),
        ("", ""),
        ("\n\n", ""),
        ("x" * 301, "x" * 300),
    ],
)
def test_anything_becomes_one_printable_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_the_length_counts_what_is_left() -> None:
    assert one_line(" a \n b ", 3) == "a b"
