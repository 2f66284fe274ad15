"""The catalog's filter: every choice is in the URL, and a value that does not exist is simply not a choice."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

GPU_COUNTS = [("", _("Any number")), ("1", "1"), ("4", "4"), ("8", "8"), ("16", "16"), ("72", "72")]
HOURS = [("24", _("24 hours")), ("1", _("1 hour")), ("168", _("1 week")), ("720", _("30 days"))]
SORTS = [
    ("price", _("Price, lowest first")),
    ("start", _("Soonest to start")),
    ("memory", _("GPU memory, largest first")),
]


class CatalogFilter(forms.Form):
    gpu = forms.MultipleChoiceField(label=_("GPU"), required=False, widget=forms.CheckboxSelectMultiple)
    provider = forms.ChoiceField(label=_("Provider"), required=False)
    n = forms.ChoiceField(label=_("GPUs needed"), required=False, choices=GPU_COUNTS)
    h = forms.ChoiceField(label=_("Hours to estimate"), required=False, choices=HOURS)
    jobs = forms.BooleanField(label=_("Only what takes jobs here"), required=False)
    now = forms.BooleanField(label=_("Only what is free now"), required=False)
    sort = forms.ChoiceField(label=pgettext_lazy("list", "Sort by"), required=False, choices=SORTS)
    tax = forms.ChoiceField(label=_("Prices"), required=False, choices=[("in", _("Tax incl.")), ("ex", _("Tax excl."))])
    diff = forms.BooleanField(label=_("Only lines that differ"), required=False)
    cmp = forms.MultipleChoiceField(required=False)

    def __init__(self, *args: object, models: list[str], providers: list[tuple[str, str]], slugs: list[str]) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        for name, choices in (
            ("gpu", [(m, m) for m in models]),
            ("provider", [("", _("All")), *providers]),
            ("cmp", [(s, s) for s in slugs]),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = choices

    def chosen(self) -> dict[str, object]:
        """Cleaned values; what was not a choice is left at its default, since a catalog has nothing to refuse."""
        self.is_valid()
        return {name: self.cleaned_data.get(name) or ([] if name in ("gpu", "cmp") else "") for name in self.fields}
