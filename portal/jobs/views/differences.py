"""The desk's room for what providers' statements and our records say differently: seen here, decided here."""

from __future__ import annotations

from typing import cast

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from portal.accounts.desk import at_desk
from portal.accounts.forms import posted
from portal.accounts.models import User
from portal.jobs.statements import beside
from portal.usage.differences import DecidedAlready, decide
from portal.usage.models import Difference, DifferenceState

SHOWN = 50
LINES_SHOWN = 200


class DecisionForm(forms.Form):
    state = forms.ChoiceField(
        label=gettext_lazy("What it is"),
        choices=[
            (DifferenceState.EXPLAINED.value, gettext_lazy("Explained: the cause is known, our records are right")),
            (DifferenceState.ACCEPTED.value, gettext_lazy("Accepted: nobody knows, it is too small to follow")),
        ],
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        help_text=gettext_lazy("It is kept in the audit record. No usage record is changed."),
        error_messages={"required": gettext_lazy("Say why.")},
    )


@require_safe
@at_desk
def differences(request: HttpRequest) -> HttpResponse:
    """Those that nobody has decided, the newest day first; with `decided` the others."""
    decided = "decided" in request.GET
    rows = Difference.objects.select_related("account__provider", "decided_by").order_by("-day", "-pk")
    rows = rows.exclude(state=DifferenceState.OPEN) if decided else rows.filter(state=DifferenceState.OPEN)
    found = list(rows[: SHOWN + 1])
    context = {"rows": found[:SHOWN], "more": len(found) > SHOWN, "decided": decided}
    return render(request, "desk/differences.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@at_desk
def difference(request: HttpRequest, pk: int) -> HttpResponse:
    """Lines of the statement beside our records, and what a person says of it."""
    found = get_object_or_404(Difference.objects.select_related("account__provider", "report", "decided_by"), pk=pk)
    is_open = found.state == DifferenceState.OPEN
    form = DecisionForm(posted(request))
    if request.method == "POST" and form.is_valid():
        state = DifferenceState(form.cleaned_data["state"])
        try:
            decide(found, state=state, reason=form.cleaned_data["reason"], by=cast(User, request.user))
        except DecidedAlready:
            messages.error(request, _("Somebody has decided this difference already."))
        else:
            messages.success(request, _("The decision is kept."))
        return redirect("differences:one", found.pk)
    context = {"row": found, "is_open": is_open, "form": form, "lines": beside(found), "lines_shown": LINES_SHOWN}
    return render(request, "desk/difference.html", context, status=422 if form.is_bound else 200)
