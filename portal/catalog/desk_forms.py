"""What staff type about offerings and prices: every refusal is a sentence, and nothing typed is lost."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.catalog.editing import FACTS, version_of, version_of_prices
from portal.catalog.models import Architecture, Offering, OfferingKind, PriceUnit, Provider, Site
from portal.catalog.pricing import NewPrice
from portal.core.periods import JST
from portal.core.plain_text import has_hidden_letters
from portal.providers.registry import KINDS

SOURCE_MAX = 200
GPUS_MAX = 100_000


class Line(forms.CharField):
    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        if has_hidden_letters(text):
            raise ValidationError(_("Use one line without control characters."))
        return text


class Day(forms.DateField):
    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        messages = {"invalid": _("Enter a day."), **kwargs.pop("error_messages", {})}
        super().__init__(widget=widget, error_messages=messages, **kwargs)


class Sourced(forms.Form):
    """Where a fact was read, when, and whether the provider has said it to us."""

    source = Line(
        label=_("Source"),
        max_length=SOURCE_MAX,
        help_text=_("Where it was read: an address, a document, a mail of the provider."),
        error_messages={
            "required": _("Enter where this was read."),
            "max_length": _("A source has up to 200 characters. Enter a shorter one."),
        },
    )
    as_of = Day(label=_("Read on"), error_messages={"required": _("Enter the day on which it was read.")})
    confirmed = forms.BooleanField(
        label=_("Confirmed by the provider"),
        required=False,
        help_text=_("Until it is, the catalog shows “To be confirmed”."),
    )

    def clean_as_of(self) -> date:
        day: date = self.cleaned_data["as_of"]
        if day > timezone.localdate():
            raise ValidationError(_("This day has not come yet. Enter the day on which it was read."))
        return day


def _number(label: Any, *, required: bool = True, least: int = 1, most: int = 10**9) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=required,
        min_value=least,
        max_value=most,
        error_messages={
            "required": _("Enter a whole number."),
            "invalid": _("Enter a whole number."),
            "min_value": _("Enter %(limit_value)s or more."),
            "max_value": _("Enter %(limit_value)s or less."),
        },
    )


def _name(label: Any) -> Line:
    messages = {
        "required": _("Enter a name."),
        "max_length": _("A name has up to 80 characters. Enter a shorter one."),
    }
    return Line(label=label, max_length=80, error_messages=messages)


class OfferingForm(Sourced):
    field_order: tuple[str, ...] = ("seen", *FACTS)  # also of what the summary of errors names
    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    name_ja = _name(_("Name in Japanese"))
    name_en = _name(_("Name in English"))
    kind = forms.ChoiceField(label=_("How to use"), choices=OfferingKind.choices)
    site = forms.ModelChoiceField(
        label=_("Place"), queryset=Site.objects.none(), required=False, empty_label=_("Not stated")
    )
    gpu_model = Line(
        label=_("GPU model"),
        max_length=20,
        required=False,
        help_text=_("Such as H100. Empty where the provider does not state it."),
    )
    gpu_memory_gb = _number(_("Memory per GPU (GB)"), required=False, most=100_000)
    gpus_min = _number(_("Fewest GPUs"), most=GPUS_MAX)
    gpus_max = _number(_("Most GPUs"), most=GPUS_MAX)
    gpus_step = _number(_("In steps of"), most=GPUS_MAX)
    gpus_per_node = _number(_("GPUs of one machine"), most=GPUS_MAX)
    architecture = forms.ChoiceField(label=_("CPU"), choices=Architecture.choices)
    architecture_confirmed = forms.BooleanField(label=_("The provider has confirmed the CPU"), required=False)
    cpu_cores = _number(_("CPU cores"), required=False)
    memory_gb = _number(_("Main memory (GB)"), required=False)
    disk_gb = _number(_("Work disk (GB)"), required=False)
    interconnect = Line(label=_("Between GPUs"), max_length=80, required=False)
    plan = Line(label=_("The provider’s name of the plan"), max_length=60, required=False)
    adapter = forms.ChoiceField(
        label=_("Jobs are handed over by"),
        required=False,
        choices=[("", _("Nobody yet")), *((kind, kind) for kind in KINDS)],
    )
    containers = forms.BooleanField(label=_("Needs a container image"), required=False)
    on_request = forms.BooleanField(label=_("Price or capacity by inquiry only"), required=False)
    best_of_units = forms.BooleanField(
        label=_("Charged by the cheapest mix of hour, day and month"),
        required=False,
        help_text=_("Otherwise the customer chooses one of the units."),
    )
    time_limit_max_s = _number(_("Longest job (seconds)"), required=False)
    note_ja = Line(label=_("Note in Japanese"), max_length=200, required=False)
    note_en = Line(label=_("Note in English"), max_length=200, required=False)
    ends_on = Day(label=_("Last day"), required=False)

    def __init__(self, data: QueryDict | None, *, offering: Offering | None = None) -> None:
        known = {name: getattr(offering, name) for name in FACTS} if offering else _NEW
        super().__init__(data, initial={**known, "seen": version_of(offering) if offering else ""})
        sites: QuerySet[Site] = Site.objects.all() if offering is None else offering.provider.sites.all()
        self.fields["site"].queryset = sites.order_by("pk")  # type: ignore[attr-defined]

    def facts(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in FACTS}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        low, high, step = (data.get(name) for name in ("gpus_min", "gpus_max", "gpus_step"))
        if low and high and low > high:
            self.add_error("gpus_max", _("This is less than the fewest GPUs."))
        elif low and high and step and (high - low) % step:
            self.add_error("gpus_step", _("From the fewest, these steps do not lead to the most GPUs."))
        if data.get("adapter") and not data.get("plan"):
            self.add_error("plan", _("Jobs need the provider’s own name of the plan."))
        return data


_NEW = {"gpus_min": 1, "gpus_max": 1, "gpus_step": 1, "gpus_per_node": 8}


class NewOfferingForm(OfferingForm):
    field_order = ("seen", "provider", "slug", *FACTS)
    slug = forms.SlugField(
        label=_("Short name"),
        max_length=50,
        help_text=_("Small letters, digits and hyphens, for addresses. It cannot be changed later."),
        error_messages={
            "required": _("Enter a short name."),
            "invalid": _("Use small letters, digits and hyphens only."),
            "max_length": _("A short name has up to 50 characters."),
        },
    )
    provider = forms.ModelChoiceField(
        label=_("Provider"),
        queryset=Provider.objects.order_by("position"),
        empty_label=_("Choose a provider"),
        error_messages={"required": _("Choose a provider.")},
    )

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if slug != slug.lower() or "_" in slug or slug == "new":  # /desk/catalog/new/ is a page
            raise ValidationError(_("Use small letters, digits and hyphens only."))
        return slug

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        site, provider = data.get("site"), data.get("provider")
        if site and provider and site.provider_id != provider.pk:
            self.add_error("site", _("This place belongs to another provider."))
        return data


class PriceForm(Sourced):
    field_order = ("seen", "amount", "unit", "per_gpu", "tax", "minimum_s", "valid_from")
    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    amount = forms.DecimalField(
        label=_("Price (yen)"),
        max_digits=14,
        decimal_places=6,
        error_messages={
            "required": _("Enter a price."),
            "invalid": _("Enter an amount in yen, such as 0.28."),
            "max_digits": _("A price is less than 100,000,000 yen."),
            "max_whole_digits": _("A price is less than 100,000,000 yen."),
            "max_decimal_places": _("A price has up to six decimals."),
        },
    )
    unit = forms.ChoiceField(label=_("For one"), choices=PriceUnit.choices)
    per_gpu = forms.ChoiceField(
        label=_("The price is"),
        choices=[("gpu", _("for each GPU")), ("plan", _("for the whole plan"))],
        widget=forms.RadioSelect,
    )
    tax = forms.ChoiceField(
        label=_("Tax"), choices=[("in", _("Tax incl.")), ("ex", _("Tax excl."))], widget=forms.RadioSelect
    )
    minimum_s = _number(_("Charged at least (seconds)"), least=0, most=86_400)
    valid_from = Day(
        label=_("Valid from"),
        required=False,
        help_text=_("From the beginning of this day in Japan. Empty: from now on."),
    )

    def __init__(self, data: QueryDict | None, *, offering: Offering) -> None:
        initial = {"tax": "in", "per_gpu": "gpu", "minimum_s": 0, "seen": version_of_prices(offering)}
        super().__init__(data, initial=initial)

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if amount <= 0:
            raise ValidationError(_("A price is more than 0 yen."))
        return amount

    def clean_valid_from(self) -> datetime:
        """The instant. Today is now: what was valid this morning stays so."""
        day, now = self.cleaned_data["valid_from"], timezone.now()
        today = timezone.localdate(now)
        if day is None or day == today:
            return now
        if day < today:
            raise ValidationError(_("A price cannot begin in the past: what was charged stays as it is."))
        if day > today + timedelta(days=3650):
            raise ValidationError(_("Enter a day within ten years."))
        return datetime.combine(day, time.min, JST)

    def price(self) -> NewPrice:
        data = self.cleaned_data
        return NewPrice(
            unit=data["unit"],
            amount=data["amount"],
            per_gpu=data["per_gpu"] == "gpu",
            minimum_s=data["minimum_s"],
            valid_from=data["valid_from"],
            source=data["source"],
            as_of=data["as_of"],
            confirmed=data["confirmed"],
            tax_included=data["tax"] == "in",
        )
