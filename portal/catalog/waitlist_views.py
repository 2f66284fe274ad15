"""The lines that a person stands in, and the form to join one."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from portal.accounts.access import require
from portal.accounts.context import current_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.catalog.availability import standings
from portal.catalog.models import WaitlistEntry
from portal.catalog.waitlist import CannotWait, in_line, join, leave, watched
from portal.catalog.waitlist_forms import WaitForm

TOLD_SHOWN = 10


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def waitlist(request: HttpRequest) -> HttpResponse:
    user, organization = cast(User, request.user), current_of(request).organization
    if organization is None:
        return render(request, "catalog/waitlist.html", {"nowhere": True})
    require(user, Permission.VIEW, current_of(request).project or organization)
    offerings = list(watched().order_by("provider__position", "slug"))
    if request.method == "POST":
        form = WaitForm(request.POST, offerings=offerings)
        if form.is_valid():
            chosen = next(o for o in offerings if o.slug == form.cleaned_data["offering"])
            try:
                join(chosen, gpus=form.cleaned_data["gpus"], organization=organization, by=user)
            except CannotWait as no:
                form.refuse(no, chosen)
            else:
                messages.success(request, _("You are in line for %(plan)s.") % {"plan": chosen.name})
                return redirect("catalog:waitlist")
    else:
        wanted = next((o for o in offerings if o.slug == request.GET.get("offering")), None)
        initial = {"offering": wanted.slug, "gpus": wanted.gpus_min} if wanted else {"gpus": 1}
        form = WaitForm(initial=initial, offerings=offerings)
    standing = standings(offerings, organization=organization, at=timezone.now())
    told = WaitlistEntry.objects.filter(user=user, organization=organization).exclude(told_at=None)
    context = {
        "form": form,
        "waiting": [
            (entry, standing[entry.offering_id].seen if entry.offering_id in standing else None)
            for entry in in_line(user, organization)
        ],
        "told": list(told.select_related("offering", "seen").order_by("-told_at")[:TOLD_SHOWN]),
        "offerings": offerings,
    }
    return render(request, "catalog/waitlist.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def leave_line(request: HttpRequest, pk: int) -> HttpResponse:
    entry = WaitlistEntry.objects.filter(user=cast(User, request.user), pk=pk).first()
    if entry is not None:
        leave(entry)
        messages.success(request, _("You are out of the line."))
    return redirect("catalog:waitlist")
