from __future__ import annotations

import sys
import tomllib
from functools import cache as remember
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import pgettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from portal.accounts.access import access_of
from portal.accounts.context import current_of
from portal.accounts.models import Membership, Organization
from portal.accounts.roles import Permission
from portal.billing.holds import room_for
from portal.catalog.models import ProviderAccount
from portal.core.error_pages import error_page
from portal.datasets.models import StorageSite
from portal.home import readiness
from portal.jobs.models import Job
from portal.jobs.placement.rule import POLICY
from portal.jobs.starters import STARTERS
from portal.jobs.views.timeline import used_now

RECENT_JOBS = 8


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """What runs, what is left to spend, and where to begin."""
    if not request.user.is_authenticated:
        return render(request, "home/landing.html")
    current = current_of(request)
    if current.organization is None:
        return redirect("home:start")
    access = access_of(request.user)
    jobs: list[Job] = []
    elsewhere, owners = False, ""
    if Permission.VIEW in current.can:
        scope = Job.objects.visible_to(request.user)
        scope = (
            scope.filter(project=current.project)
            if current.project
            else scope.filter(organization=current.organization)
        )
        jobs = list(scope.select_related("offering__provider", "project", "price").order_by("-id")[:RECENT_JOBS])
        if not jobs and current.project:
            everywhere = Job.objects.visible_to(request.user).filter(organization=current.organization)
            elsewhere = everywhere.exists()
    else:
        owners = owners_of(current.organization)
    places = current.projects[:1] if current.project is None else [current.project]
    # The dashboard's money is that of one project: its own room, or the first project's where none is chosen.
    may_see_money = any(access.may_in(place, Permission.VIEW_MONEY) for place in places)
    now = timezone.now()
    context = {
        "jobs": [(job, used_now(job, now=now)) for job in jobs],
        "active": [job for job in jobs if not job.is_final],
        "room": room_for(places[0]) if places and may_see_money else None,
        "starters": STARTERS,
        "elsewhere": elsewhere,
        "owners": owners,
    }
    return render(request, "home/dashboard.html", context)


def owners_of(organization: Organization) -> str:
    """Whom a member asks: the names of those who can decide, the first few."""
    owners = Membership.objects.filter(organization=organization).owners().select_related("user").order_by("pk")[:3]
    return pgettext("between items of a list", ", ").join(str(row.user) for row in owners)


@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Open to everybody, and works as far as it can while parts are down."""
    known = cache_safely("home:status")
    if known is None:
        known = {"parts": [(p.name, p.ok, p.age_s) for p in readiness.parts()]}
        cache_safely("home:status", known)
    accounts: list[ProviderAccount] = []
    sites: list[StorageSite] = []
    if {name: ok for name, ok, _age in known["parts"]}["database"]:
        accounts = _accounts_of(current_of(request).organization)
        sites = list(StorageSite.objects.filter(enabled=True, is_primary=False).order_by("pk"))
    return render(request, "home/status.html", {"parts": known["parts"], "accounts": accounts, "sites": sites})


def _accounts_of(organization: Organization | None) -> list[ProviderAccount]:
    """What everybody shares, and what the organization has of its own: nobody else's."""
    accounts = ProviderAccount.objects.filter(Q(organization=None) | Q(organization=organization), active=True)
    in_order = accounts.order_by("provider__position", "organization", "pk")
    return list(in_order.select_related("provider", "organization"))


def cache_safely(key: str, value: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The status page must not fail because the cache did."""
    try:
        if value is not None:
            cache.set(key, value, 10)
            return None
        found: dict[str, Any] | None = cache.get(key)
        return found
    except Exception:
        return None


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when every part is there that is needed, 503 when one is not; which one stands in the answer, with its age in
    seconds. Places for copies are told beside them."""
    parts = readiness.parts_and_sites()
    answer = {p.name: {"ok": p.ok, "detail": p.detail, "age_s": p.age_s} for p in parts}
    return JsonResponse(answer, status=200 if all(p.ok or not p.needed for p in parts) else 503)


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """For pages without script; portal.js sets the same cookie."""
    chosen = request.POST.get("theme", "")
    to = request.POST.get("next", "/")
    # A path only: redirect() would take a bare word for the name of a page.
    response = redirect(to if to.startswith("/") and url_has_allowed_host_and_scheme(to, None) else "/")
    if chosen in ("light", "dark", "auto"):
        response.set_cookie("theme", chosen, max_age=365 * 24 * 3600, samesite="Lax", secure=settings.PRODUCTION)
    return response


@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    return render(request, "home/help.html")


@require_safe
def placement(request: HttpRequest) -> HttpResponse:
    """The rule by which jobs are placed, for everybody to check."""
    return render(request, "home/placement.html", {"policy": POLICY})


@require_safe
def licences(request: HttpRequest) -> HttpResponse:
    return render(request, "home/licences.html", {"packages": _packages()})


@remember
def _packages() -> list[dict[str, str]]:
    """One line per vendored package, from the file that also pins their checksums."""
    listed = tomllib.loads((settings.BASE_DIR / "static" / "vendor" / "VENDOR.toml").read_text())["file"]
    return list({entry["package"]: entry for entry in listed}.values())


# --- errors ----------------------------------------------------------------------------------------------------------
def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Says whom to ask: the owners of the organization one is in, to its members alone."""

    def owners() -> str:
        organization = current_of(request).organization
        return owners_of(organization) if organization else ""

    # Asked for by the page inside the menu only, which is for the signed-in.
    return error_page(request, 403, context={"owners": SimpleLazyObject(owners)})


def server_error(request: HttpRequest) -> HttpResponse:
    """The fault may be the database itself: 503 says so, and that it is worth asking again."""
    if not _is_the_database(sys.exception()) and _database_answers():
        return error_page(request, 500)
    response = error_page(request, 503)
    response["Retry-After"] = "10"
    return response


def _is_the_database(error: BaseException | None) -> bool:
    """The connection broke, or there was none, or there is no room left (53: disk, memory, connections). Known without
    asking once more, and true even if all is well by now."""
    if isinstance(error, OperationalError):
        sqlstate = getattr(error.__cause__, "sqlstate", None)  # none at all where nobody answered
        return sqlstate is None or sqlstate.startswith(("08", "53", "57P"))
    return isinstance(error, InterfaceError)


def _database_answers() -> bool:
    try:
        connection.ensure_connection()
        return connection.is_usable()
    except Exception:
        return False
