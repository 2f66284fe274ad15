"""The catalog's filter: every choice is in the URL, and a value that does not exist is simply not a choice."""

from __future__ import annotations

import unicodedata

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.catalog.choosing import SIZES, Answers, Purpose, size_words

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


DEADLINES = [
    ("", _("None")),
    ("8", _("8 hours")),
    ("24", _("24 hours")),
    ("72", _("3 days")),
    ("168", _("1 week")),
    ("720", _("30 days")),
]


class ChoosingForm(forms.Form):
    """The five questions. `providers`: slugs and names of where data can be."""

    purpose = forms.ChoiceField(
        label=_("What for?"),
        choices=Purpose.choices,
        error_messages={"required": _("Choose what it is for."), "invalid_choice": _("Choose what it is for.")},
    )
    size = forms.ChoiceField(
        label=_("How large is the model?"),
        help_text=_("Its parameters: 1B is a billion."),
        choices=[(str(size), size_words(size)) for size in SIZES],
        error_messages={
            "required": _("Choose the size of the model."),
            "invalid_choice": _("Choose the size of the model."),
        },
    )
    budget = forms.CharField(
        label=_("What may it cost at most? (yen, tax incl.)"),
        help_text=_("Empty: no limit."),
        required=False,
        max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 20}),
    )
    deadline = forms.ChoiceField(label=_("In how long must it be done?"), choices=DEADLINES, required=False)
    place = forms.ChoiceField(label=_("Where is the data?"), required=False)

    def __init__(self, *args: object, providers: list[tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["place"].choices = [("", _("Elsewhere, or there is little")), *providers]  # type: ignore[attr-defined]

    def clean_budget(self) -> int | None:
        """As people type it: full-width digits, commas and a yen sign are fine."""
        text = unicodedata.normalize("NFKC", self.cleaned_data["budget"]).strip("¥円 ").replace(",", "")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
            raise forms.ValidationError(_("Enter whole yen from 1 to 999,999,999, or leave it empty."))
        return int(text)

    def answers(self) -> Answers:
        """Of a valid form."""
        said = self.cleaned_data
        return Answers(
            purpose=Purpose(said["purpose"]),
            millions=int(said["size"]),
            budget=said["budget"],
            deadline_h=int(said["deadline"]) if said["deadline"] else None,
            data=said["place"],
        )
