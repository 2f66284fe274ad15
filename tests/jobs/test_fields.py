"""Numbers and texts as people type them."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from portal.jobs.fields import PlainText, WholeNumber

NUMBER = WholeNumber(minimum=1, maximum=10**11, missing="missing", wrong="wrong")


@pytest.mark.parametrize(
    ("typed", "number"), [("500", 500), ("1,000", 1000), ("¥５００", 500), ("500円", 500), ("", None), (None, None)]
)
def test_numbers_are_read_as_people_type_them(typed, number):
    assert NUMBER.to_python(typed) == number


@pytest.mark.parametrize("typed", ["0", "-1", "1.5", "1e3", "٣", "9" * 13, "1 000", "x", "\0"])
def test_numbers_that_are_refused(typed):
    with pytest.raises(ValidationError):
        NUMBER.to_python(typed)


def test_text_is_kept_as_typed_but_for_its_line_ends():
    assert PlainText(max_bytes=100, too_long="long").clean("  一\r\n二\r三 \n") == "  一\n二\n三 \n"


@pytest.mark.parametrize(("typed", "sentence"), [("a\0b", "NUL"), ("あ" * 4, "long")])
def test_texts_that_are_refused(typed, sentence):
    with pytest.raises(ValidationError, match=sentence):
        PlainText(max_bytes=11, too_long="too long").clean(typed)
