from __future__ import annotations

import re
import unicodedata
from typing import Any, cast

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, Project
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
