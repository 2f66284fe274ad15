"""Move a waiting job to a plan that is free, by one click of its page."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.billing.holds import OverBudget, Released
from portal.catalog.models import Offering
from portal.jobs.moving import CannotMove, move
from portal.jobs.places import Refused
from portal.jobs.views.finding import find_job, user_of


@login_required
@require_POST
def move_job(request: HttpRequest, code: str) -> HttpResponse:
    job, user = find_job(request, code), user_of(request)
    require(user, Permission.SUBMIT, job.project)
    slug, price = request.POST.get("offering", "").replace("\0", ""), request.POST.get("price", "")
    wanted = Offering.objects.select_related("provider", "site").filter(slug=slug).first()
    if wanted is None or not (price.isascii() and price.isdigit() and len(price) < 19):
        messages.error(request, _("That plan is not there any more. The job waits on where it is."))
        return redirect("jobs:detail", job.code)
    try:
        move(job, wanted, seen_price=int(price), by=user)
    except (CannotMove, Refused, OverBudget) as no:
        messages.error(request, f"{no.message}")
    except Released:
        messages.info(request, _("The job is over."))
    else:
        messages.success(request, _("The job goes to %(plan)s now.") % {"plan": wanted.name})
    return redirect("jobs:detail", job.code)
