from __future__ import annotations

import re
import unicodedata
from typing import Any, cast

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy, pgettext_lazy

from portal.accounts.models import Organization, Project
from portal.billing.models.invoices import LONGEST_TERM_DAYS
from portal.catalog.models import Provider
from portal.core.templatetags.formats import yen

HIGHEST_LIMIT = 1_000_000_000_000


class YenField(forms.CharField):
    """Whole yen as people type them: 300,000, ３００，０００円, ¥300000. Empty is None."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=30, **kwargs)
        self.widget.attrs.update({"inputmode": "numeric", "autocomplete": "off"})

    def clean(self, value: Any) -> int | None:
        if value is None:  # no limit is said by an empty field; a form without the field has lost it on the way
            raise forms.ValidationError(_("The amount did not arrive. Enter it again, or leave it empty for no limit."))
        text = unicodedata.normalize("NFKC", super().clean(value) or "")
        digits = re.sub(r"[\s,、¥\\円]", "", text)
        if not digits:
            return None
        if not re.fullmatch(r"[0-9]+", digits):
            raise forms.ValidationError(_("Enter the amount as a whole number of yen, e.g. 300000."))
        if int(digits) > HIGHEST_LIMIT:
            raise forms.ValidationError(_("Enter at most %(most)s.") % {"most": yen(HIGHEST_LIMIT)})
        return int(digits)


class BudgetForm(forms.Form):
    """Which place, and the most it may spend in a month. The places are those where the person may set it."""

    place = forms.ChoiceField(label=_("Applies to"))
    monthly_limit = YenField(
        label=_("Monthly limit (yen, tax included)"),
        required=False,
        help_text=_("Leave it empty for no limit."),
    )

    def __init__(self, *args: Any, organization: Organization | None, projects: list[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.projects = {project.code: project for project in projects}
        choices = [(code, project.name) for code, project in self.projects.items()]
        self.whole = (organization.code, organization.name) if organization else None
        if organization:
            name = _("Whole organization (%(organization)s)") % {"organization": organization.name}
            choices.insert(0, (organization.code, name))
        field = cast(forms.ChoiceField, self.fields["place"])
        field.choices = choices
        field.error_messages["invalid_choice"] = _("Choose the organization or one of its projects from the list.")

    @property
    def drawn(self) -> tuple[object, ...]:
        """All that the empty form shows: the same values need not be drawn again."""
        places = tuple((code, project.name) for code, project in self.projects.items())
        return (self.whole, places, self.initial.get("place"))

    @property
    def project(self) -> Project | None:
        """None: the whole organization."""
        return self.projects.get(self.cleaned_data["place"])


def _day_input() -> forms.DateInput:
    return forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})


class SearchedYenField(YenField):
    """An address without it searches for any amount."""

    def clean(self, value: Any) -> int | None:
        return super().clean(value or "")


class InvoiceSearchForm(forms.Form):
    """Days, amounts, issuer and number together, as 電子帳簿保存法 asks. An empty field finds all."""

    since = forms.DateField(label=_("Issued from"), required=False, widget=_day_input())
    until = forms.DateField(label=_("Issued up to"), required=False, widget=_day_input())
    least = SearchedYenField(label=_("Amount from (yen)"), required=False)
    most = SearchedYenField(label=_("Amount up to (yen)"), required=False)
    issuer = forms.ModelChoiceField(
        label=_("Issuer"),
        queryset=Provider.objects.order_by("position", "pk"),
        to_field_name="slug",
        required=False,
        empty_label=pgettext_lazy("filter", "All"),
    )
    number = forms.CharField(label=pgettext_lazy("of an invoice", "Number"), required=False, max_length=40)

    def clean_number(self) -> str:
        return unicodedata.normalize("NFKC", self.cleaned_data["number"]).strip().upper()

    @property
    def conditions(self) -> Q:
        """Of what could be understood; a field with an error finds all."""
        wanted = {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
        lookups = {
            "since": "issued_on__gte",
            "until": "issued_on__lte",
            "least": "total__gte",
            "most": "total__lte",
            "issuer": "member",
            "number": "number__contains",
        }
        return Q(**{lookups[name]: value for name, value in wanted.items()})


class InvoiceAddressForm(forms.Form):
    """To whom invoices are addressed from the next one on."""

    name = forms.CharField(
        label=_("Addressee"),
        max_length=100,
        required=False,
        help_text=_("As it shall stand on the invoice. Empty: the organization's name."),
    )
    department = forms.CharField(label=_("Department and person"), max_length=100, required=False)
    postal_code = forms.CharField(
        label=_("Postal code"),
        max_length=20,
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "postal-code"}),
    )
    address = forms.CharField(
        label=_("Address"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "street-address"}),
    )
    purchase_order = forms.CharField(
        label=_("Purchase order"), max_length=40, required=False, help_text=_("Printed on every invoice.")
    )
    payment_term_days = forms.TypedChoiceField(
        label=_("Payment term"),
        coerce=int,
        choices=[(days, ngettext_lazy("%d day", "%d days", days) % days) for days in (30, 45, LONGEST_TERM_DAYS)],
        help_text=_("Days from the date of issue."),
    )

    def clean_postal_code(self) -> str:
        digits = re.sub(r"[\s〒-]", "", unicodedata.normalize("NFKC", self.cleaned_data["postal_code"]))
        if digits and not re.fullmatch(r"[0-9]{7}", digits):
            raise forms.ValidationError(_("Enter the seven digits of the postal code, e.g. 100-0001."))
        return f"{digits[:3]}-{digits[3:]}" if digits else ""
