"""Which jobs somebody wants to see: the filters in the URL, for the list, its CSV and acts on many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import pgettext_lazy

from portal.accounts.access import access_of, require
from portal.accounts.context import Current
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.jobs.states import ACTIVE, JobState

Scope = tuple[str, int]  # "organization" or "project", and its key
GROUPS = {
    "active": (pgettext_lazy("jobs", "Not ended"), tuple(sorted(ACTIVE))),
    "succeeded": (JobState.SUCCEEDED.label, (JobState.SUCCEEDED,)),
    "failed": (JobState.FAILED.label, (JobState.FAILED,)),
    "cancelled": (JobState.CANCELLED.label, (JobState.CANCELLED,)),
    "expired": (JobState.EXPIRED.label, (JobState.EXPIRED,)),
}
EVERY_PROJECT = "all"


@dataclass(frozen=True)
class Wanted:
    """The filters that make sense, named as in the URL; "" or None where nothing is asked for."""

    state: str = ""
    provider: str = ""
    project: str = EVERY_PROJECT
    person: int | str = ""
    since: date | None = None  # the first and the last day on which they were submitted, in Japan
    until: date | None = None
    q: str = ""

    @property
    def is_narrow(self) -> bool:
        """Something beside the project is asked for."""
        return any((self.state, self.provider, self.person, self.since, self.until, self.q))

    @property
    def values(self) -> dict[str, str]:
        """What is asked for, as the URL has it."""
        return {name: str(value) for name, value in asdict(self).items() if value}

    @property
    def query(self) -> str:
        """For links and saved views: the same for the same wishes."""
        return urlencode(self.values)

    @property
    def matching(self) -> Q:
        matching = Q()
        if self.state:
            matching &= Q(state__in=GROUPS[self.state][1])
        if self.provider:
            matching &= Q(offering__provider__slug=self.provider)
        if self.person:
            matching &= Q(submitted_by=self.person)
        if self.since:
            matching &= Q(submitted_at__gte=_beginning_of(self.since))
        if self.until:
            matching &= Q(submitted_at__lt=_beginning_of(self.until + timedelta(days=1)))
        if self.q:
            matching &= Q(name__icontains=self.q) | Q(code__istartswith=self.q)
        else:  # a thousand tasks of one sweep would hide everything else: they are on its own page
            matching &= Q(task=None)
        return matching


def wanted_of(asked: Mapping[str, str], current: Current, projects: Sequence[Project]) -> Wanted:
    """Anything in the URL that is no filter of ours is ignored."""
    codes = {p.code for p in projects} | {EVERY_PROJECT}
    usual = current.project.code if current.project and current.project in projects else EVERY_PROJECT
    person = asked.get("person", "")
    return Wanted(
        state=asked.get("state", "") if asked.get("state") in GROUPS else "",
        provider=asked.get("provider", "").replace("\0", "")[:50],
        project=asked["project"] if asked.get("project") in codes else usual,
        person=int(person) if person.isascii() and person.isdigit() and len(person) < 10 else "",
        since=_day(asked.get("since", "")),
        until=_day(asked.get("until", "")),
        q=" ".join(asked.get("q", "").replace("\0", "").split())[:50],
    )


def projects_to_see(request: HttpRequest, user: User, current: Current) -> list[Project]:
    """Those of the organization whose jobs the person may see. Raises NotPermitted where there are none for them."""
    projects = [p for p in current.projects if access_of(user).may_in(p, Permission.VIEW)]
    if not projects and current.organization:
        require(user, Permission.VIEW, current.project or current.organization)
    return projects


def scopes_of(user: User, current: Current, projects: Sequence[Project], project: str) -> list[Scope]:
    """Where the person may look: an organization, a project, or each of their projects."""
    chosen = next((p for p in projects if p.code == project), None)
    if chosen is not None:
        return [("project", chosen.pk)]
    if current.organization and access_of(user).may_in(current.organization, Permission.VIEW):
        return [("organization", current.organization.pk)]
    return [("project", p.pk) for p in projects]


def within(scopes: Sequence[Scope]) -> Q:
    """The same as one condition; of nowhere nothing."""
    inside = Q(pk__in=[])
    for place, pk in scopes:
        inside |= Q(**{place: pk})
    return inside


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year < 2100 else None  # its instants exist in every zone


def _beginning_of(day: date) -> datetime:
    return datetime.combine(day, time.min, timezone.get_default_timezone())
