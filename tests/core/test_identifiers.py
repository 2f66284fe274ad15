import re
from datetime import UTC, datetime

import pytest
import time_machine

from portal.core import identifiers


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (identifiers.organization_code, "o-[0-9a-hjkmnp-tv-z]{8}"),
        (identifiers.project_code, "p-[0-9a-hjkmnp-tv-z]{8}"),
        (identifiers.dataset_code, "d-[0-9a-hjkmnp-tv-z]{10}"),
        (identifiers.file_code, "f-[0-9a-hjkmnp-tv-z]{12}"),
        (identifiers.attempt_code, "[0-9a-hjkmnp-tv-z]{12}"),
        (identifiers.job_code, r"J-\d{8}-[0-9A-HJKMNP-TV-Z]{8}"),
    ],
)
def test_codes_have_their_form_and_no_letters_that_look_alike(make, pattern: str) -> None:  # type: ignore[no-untyped-def]
    codes = {make() for _ in range(200)}
    assert (len(codes), [code for code in codes if not re.fullmatch(pattern, code)]) == (200, [])


def test_a_job_carries_its_day_in_japan() -> None:
    with time_machine.travel(datetime(2026, 12, 31, 15, tzinfo=UTC)):
        assert identifiers.job_code()[:11] == "J-20270101-"
