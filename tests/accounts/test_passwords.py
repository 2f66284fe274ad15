import pytest
from django.core.exceptions import ValidationError
from django.utils import translation

from portal.accounts.passwords import MaximumLengthValidator


def test_a_password_has_an_upper_limit_too() -> None:
    validator = MaximumLengthValidator(256)
    validator.validate("字" * 256)
    with translation.override("en"), pytest.raises(ValidationError) as refused:
        validator.validate("字" * 257)
    assert (refused.value.code, refused.value.messages) == (
        "password_too_long",
        ["A password can have up to 256 characters."],
    )
