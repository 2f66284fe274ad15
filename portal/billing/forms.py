from __future__ import annotations

import re
import unicodedata
from typing import Any, cast

from django import forms
from django.db.models import Q
from django.utils.translation import gettext, ngettext_lazy, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, Project
from portal.billing.budgets import Terms
from portal.billing.models import THRESHOLDS, Budget, BudgetAction, BudgetPeriod
from portal.billing.models.invoices import LONGEST_TERM_DAYS
from portal.catalog.models import Provider
from portal.core.plain_text import has_hidden_letters
from portal.core.templatetags.formats import yen

HIGHEST_LIMIT = 1_000_000_000_000
FIXED_ONLY = ("name", "first_day", "last_day")


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


class Day(forms.DateField):
    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        super().__init__(widget=widget, error_messages={"invalid": _("Enter a day, e.g. 2027-03-31.")}, **kwargs)


class TermsForm(forms.Form):
    """A budget as people set it. Without `budget` a new one, of one of the places where the person may set it."""

    place = forms.ChoiceField(label=_("Applies to"))
    period = forms.ChoiceField(label=_("Period"), choices=BudgetPeriod.choices)
    name = forms.CharField(
        label=_("Name of the grant or period"),
        required=False,
        max_length=60,
        help_text=_("Only for a budget from a day to a day."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    first_day = Day(label=_("First day"), required=False, help_text=_("Only for a budget from a day to a day."))
    last_day = Day(label=_("Last day"), required=False, help_text=_("Only for a budget from a day to a day."))
    limit = YenField(
        label=_("Limit (yen, tax included)"),
        error_messages={"required": _("Enter the limit as a whole number of yen, e.g. 300000.")},
    )
    at_50 = forms.ChoiceField(label=_("At 50%"), choices=BudgetAction.choices)
    at_80 = forms.ChoiceField(label=_("At 80%"), choices=BudgetAction.choices)
    at_100 = forms.ChoiceField(label=_("At 100%"), choices=BudgetAction.choices)

    def __init__(
        self,
        *args: Any,
        organization: Organization | None,
        projects: list[Project],
        budget: Budget | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.budget, self.projects = budget, {project.code: project for project in projects}
        if budget is not None:
            for name in ("place", "period", *(() if budget.period == BudgetPeriod.FIXED else FIXED_ONLY)):
                del self.fields[name]
            return
        choices = [(code, project.name) for code, project in self.projects.items()]
        if organization:
            whole = gettext("Whole organization (%(organization)s)") % {"organization": organization.name}
            choices.insert(0, (organization.code, whole))
        cast(forms.ChoiceField, self.fields["place"]).choices = choices

    def clean_limit(self) -> int:
        limit = self.cleaned_data["limit"]
        if limit is None:
            raise forms.ValidationError(_("Enter the limit as a whole number of yen, e.g. 300000."))
        return int(limit)

    def clean_name(self) -> str:
        name = " ".join(str(self.cleaned_data["name"]).split())
        if has_hidden_letters(name):
            raise forms.ValidationError(_("Use one line without control characters."))
        return name

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        period = self.budget.period if self.budget else said.get("period")
        if period == BudgetPeriod.FIXED:
            for name in FIXED_ONLY:
                if name not in self.errors and not said.get(name):
                    self.add_error(name, _("A budget from a day to a day needs this."))
            if (first := said.get("first_day")) and (last := said.get("last_day")) and last < first:
                self.add_error("last_day", _("The last day is before the first. Correct one of them."))
        return said

    @property
    def terms(self) -> Terms:
        """Of a valid form."""
        said = self.cleaned_data
        period = self.budget.period if self.budget else said["period"]
        chosen: dict[str, Any] = {f"at_{percent}": BudgetAction(said[f"at_{percent}"]) for percent in THRESHOLDS}
        if period == BudgetPeriod.FIXED:
            chosen |= {name: said[name] for name in FIXED_ONLY}
        return Terms(limit=said["limit"], **chosen)

    @property
    def project(self) -> Project | None:
        """None: the whole organization."""
        return self.projects.get(self.cleaned_data["place"])


class AnswerForm(forms.Form):
    """Why a request is declined, for who asked."""

    answer = forms.CharField(
        label=_("Reason, if you decline it"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": 500}),
    )

    def clean_answer(self) -> str:
        answer = " ".join(str(self.cleaned_data["answer"]).split())
        if "decline" in self.data and not answer:
            raise forms.ValidationError(_("Write in a sentence why, so that they know what to change."))
        return answer
