"""Form fields for text kept as typed and for numbers as people type them."""

from __future__ import annotations

import unicodedata
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _


class PlainText(forms.CharField):
    """Text kept as typed, with LF line ends. Raises sentences for \\0 and for too many bytes."""

    def __init__(self, *, max_bytes: int, too_long: Any, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)
        self.validators = []  # Django's own for \0 names no way out
        self.max_bytes, self.too_long = max_bytes, too_long

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n").replace("\r", "\n")

    def validate(self, value: str) -> None:
        super().validate(value)
        if "\0" in value:
            raise ValidationError(
                _("%(label)s contains a NUL character (\\0). Save it as plain UTF-8 text and paste it again.")
                % {"label": self.label}
            )
        if len(value.encode()) > self.max_bytes:
            raise ValidationError(self.too_long)


class WholeNumber(forms.Field):
    """A whole number as people type it: full-width digits, commas and a yen sign are fine."""

    def __init__(self, *, minimum: int, maximum: int, missing: Any, wrong: Any, **kwargs: Any) -> None:
        super().__init__(error_messages={"required": missing}, **kwargs)
        self.minimum, self.maximum, self.wrong = minimum, maximum, wrong

    def to_python(self, value: Any) -> int | None:
        text = unicodedata.normalize("NFKC", str(value or "")).strip().strip("¥円").replace(",", "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and self.minimum <= int(text) <= self.maximum):
            raise ValidationError(self.wrong)
        return int(text)
