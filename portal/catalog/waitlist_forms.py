from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.catalog.models import Offering
from portal.catalog.waitlist import MOST, CannotWait


class WaitForm(forms.Form):
    """`offerings`: the plans whose line can be joined."""

    offering = forms.ChoiceField(
        label=gettext_lazy("GPU plan"),
        error_messages={
            "required": gettext_lazy("Choose a GPU plan."),
            "invalid_choice": gettext_lazy("Nobody says what is free of this plan. Choose another one."),
        },
    )
    gpus = forms.IntegerField(
        label=gettext_lazy("Number of GPUs"),
        min_value=1,
        max_value=100_000,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 6}),
        error_messages={
            name: gettext_lazy("Enter the number of GPUs as a whole number from 1 to 100,000.")
            for name in ("required", "invalid", "min_value", "max_value")
        },
    )

    def __init__(self, *args: Any, offerings: Sequence[Offering], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["offering"].choices = [(o.slug, o.name) for o in offerings]  # type: ignore[attr-defined]

    def refuse(self, no: CannotWait, offering: Offering) -> None:
        if no.code == "gpus":
            names = {"plan": offering.name, "least": offering.gpus_min, "most": offering.gpus_max}
            self.add_error("gpus", _("%(plan)s takes from %(least)s to %(most)s GPUs.") % names)
        else:
            self.add_error(None, _("You can stand in %(most)s lines. Leave one first.") % {"most": MOST})
