"""Every URL name x every persona x own and other tenant x GET and POST. The table is checked against the resolver, so a
URL without a row fails. What is not yours does not exist (404); what you see but may not do is refused (403); who is
signed out is asked to sign in (302 to the login page). An empty POST of somebody who may act is answered by the view
itself (302, 400, 409, 422): how is the business of that app's own tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from portal.accounts.models import Invitation, Membership, Organization, Project, User
from portal.accounts.roles import Role
from portal.catalog.models import WaitlistEntry
from portal.datasets import fetching, storage
from portal.jobs import claims
from tests.datasets.test_fetching import session_of
from tests.factories import (
    ArtifactFactory,
    AttemptFactory,
    BudgetFactory,
    DataFileFactory,
    DatasetFactory,
    DatasetShareFactory,
    DatasetVersionFactory,
    DeletionCertificateFactory,
    DifferenceFactory,
    InvoiceFactory,
    JobFactory,
    MembershipFactory,
    PriceFactory,
    ProjectFactory,
    RegistryLoginFactory,
    SpendRequestFactory,
    StaffFactory,
    SweepTaskFactory,
    UserFactory,
)
from tests.factories.billing import give_credit, metered

INSIDE = ("owner", "manager", "member", "viewer", "billing", "project_member")
PERSONAS = (*INSIDE, "stranger", "newcomer", "staff", "anonymous")

THROUGH, LOGIN, START, HIDDEN, REFUSED, NO_METHOD = "through", "login", "start", "404", "403", "405"


@dataclass(frozen=True)
class Rule:
    """Who gets through; what the rest of the tenant, other tenants, somebody without a tenant, and nobody get."""

    may: tuple[str, ...]
    inside: str = REFUSED
    billing: str = ""  # where it differs from `inside`
    project_member: str = ""
    stranger: str = HIDDEN
    newcomer: str = HIDDEN  # START: is asked to found or join an organization first
    staff: str = ""  # of the portal, without an organization: at the desk; elsewhere as a newcomer
    anonymous: str = LOGIN

    def expected(self, persona: str) -> str:
        if persona == "staff":
            return self.staff or self.expected("newcomer")
        if persona in self.may and (persona != "newcomer" or self.newcomer == HIDDEN):
            return THROUGH
        if persona in INSIDE:
            return str(getattr(self, persona, "")) or self.inside
        return str(getattr(self, persona))


WORKERS = ("owner", "manager", "member", "project_member")
READERS = (*WORKERS, "viewer")
MANAGERS = ("owner", "manager")

EVERYBODY = Rule(PERSONAS)
SIGNED_IN = Rule(PERSONAS[:-1])


def own_place(*roles: str) -> Rule:
    """Shows or changes the person's own tenant, whichever that is; the stranger owns theirs."""
    return Rule((*roles, "stranger"), newcomer=START)


def with_empty_page(*roles: str) -> Rule:
    """As `own_place`, but somebody without an organization gets a page that says what to do first."""
    return Rule((*roles, "stranger"), newcomer=THROUGH)


# Accountants see money, not what jobs do or data hold: for them these do not exist.
READ = Rule(READERS, inside=HIDDEN)
CHANGE = Rule(WORKERS, billing=HIDDEN)
ANY_MEMBER = own_place(*INSIDE)
WORK_HERE = with_empty_page(*WORKERS)
MANAGE_HERE = own_place(*MANAGERS)
OWN_HERE = own_place("owner")
MONEY_HERE = own_place("owner", "manager", "billing")
MONEY = Rule(("owner", "manager", "billing"))
DECIDER = Rule(("owner", "manager", "billing"), inside=HIDDEN)  # of what the owner asked for
DELETER = Rule(WORKERS, inside=HIDDEN)
UPLOADER = Rule(("owner",), inside=HIDDEN)  # an unfinished upload is its uploader's alone
STOPPER = Rule(MANAGERS, billing=HIDDEN)  # of a job that the owner submitted
MANAGE_PROJECT = Rule(MANAGERS, newcomer=START)
MANAGE_MEMBER = Rule(MANAGERS, newcomer=START, project_member=HIDDEN)  # who sees one project sees no other members
MANAGE_INVITATION = MANAGE_LOGIN = Rule(MANAGERS, inside=HIDDEN, newcomer=START)
OF_THE_WHOLE = own_place("owner", "manager", "member", "viewer", "billing")  # who sees one project sees no invoices
MONEY_HERE = own_place("owner", "manager", "billing")
INVOICED = Rule(("owner", "manager", "member", "viewer", "billing"), inside=HIDDEN)
NOWHERE = Rule((), inside=HIDDEN, stranger=HIDDEN)  # no place was named
STEP = Rule(PERSONAS[:-1])  # the next step of something begun before: without that, back to signing in
NEVER_BEGUN = Rule((), inside=LOGIN, stranger=LOGIN, newcomer=LOGIN)
AT_DESK = Rule((), inside=HIDDEN, staff=THROUGH)
NOT_SET_UP = Rule((), inside=HIDDEN, stranger=HIDDEN)  # shows what the person has not set up

Pair = tuple[Rule | None, Rule | None]  # GET, POST; None: 405
PAGE: Pair = (EVERYBODY, None)
ACT_OPEN: Pair = (None, EVERYBODY)
OWN_FORM: Pair = (SIGNED_IN, SIGNED_IN)
OWN_PASSKEY: Pair = (Rule(PERSONAS[:-1], staff=HIDDEN),) * 2  # asked first who they are; staff just were, and have none
SIGNED_OUT_FORM: Pair = (EVERYBODY, EVERYBODY)

TABLE: dict[str, Pair] = {
    # home
    "home:dashboard": (Rule(PERSONAS, newcomer=START), None),
    "home:start": OWN_FORM,
    "home:status": PAGE,
    "home:help": PAGE,
    "home:licences": PAGE,
    "home:placement": PAGE,
    "home:theme": ACT_OPEN,
    "home:healthz": PAGE,
    "home:readyz": PAGE,
    "dev:mail": PAGE,
    "dev:mail_message": (Rule((), inside=HIDDEN, anonymous=HIDDEN), None),  # there is no such mail
    "set_language": (EVERYBODY, EVERYBODY),
    # catalog
    "catalog:list": PAGE,
    "catalog:choose": PAGE,
    "catalog:csv": PAGE,
    "catalog:waitlist": (with_empty_page(*READERS), with_empty_page(*READERS)),
    "catalog:leave_line": (None, SIGNED_IN),  # nothing happens to a line that is not theirs
    # jobs
    "jobs:list": (with_empty_page(*READERS), None),
    "jobs:csv": (with_empty_page(*READERS), None),
    "jobs:views": (with_empty_page(*READERS), with_empty_page(*READERS)),
    "jobs:compare": (SIGNED_IN, None),  # of what they may see; here they named none
    "jobs:stop_many": OWN_FORM,
    "jobs:copy_many": OWN_FORM,
    "jobs:new": (WORK_HERE, WORK_HERE),
    "jobs:quote": (WORK_HERE, None),
    "jobs:draft": (None, Rule((*WORKERS, "stranger"), newcomer=HIDDEN)),
    "jobs:detail": (READ, None),
    "jobs:events": (READ, None),
    "jobs:config": (READ, None),
    "jobs:artifacts": (READ, None),
    "jobs:artifact": (READ, None),
    "jobs:artifact_preview": (READ, None),
    "jobs:artifact_content": (READ, None),
    "jobs:residency": (READ, None),
    "jobs:residency_csv": (READ, None),
    "jobs:residency_json": (READ, None),
    "jobs:keep": (CHANGE, CHANGE),
    "jobs:lines": (READ, None),
    "jobs:log": (READ, None),
    "jobs:stop": (STOPPER, STOPPER),
    "jobs:extend": (STOPPER, STOPPER),
    "jobs:move": (None, CHANGE),
    "jobs:sweeps": (with_empty_page(*READERS), None),
    "jobs:sweep": (READ, None),
    "jobs:sweep_csv": (READ, None),
    "jobs:sweep_stop": (STOPPER, STOPPER),
    "jobs:sweep_again": (CHANGE, CHANGE),
    "jobs:many": (None, WORK_HERE),
    "machine:claim": ACT_OPEN,  # whoever has the token
    # datasets
    "datasets:list": (with_empty_page(*READERS), None),
    "datasets:storage": (own_place(*READERS), None),
    "datasets:last_day": (CHANGE, CHANGE),
    "datasets:certificates": (own_place(*WORKERS), None),
    "datasets:certificate": (DELETER, None),
    "datasets:certificate_json": (DELETER, None),
    "datasets:begin": (None, with_empty_page(*INSIDE)),
    "datasets:form": (WORK_HERE, WORK_HERE),
    "datasets:token": (None, NOWHERE),
    "datasets:parts": (UPLOADER, UPLOADER),
    "datasets:complete": (None, UPLOADER),
    "datasets:cancel": (None, UPLOADER),
    "datasets:send": (UPLOADER, None),
    "datasets:posted": (UPLOADER, None),
    "datasets:states": (SIGNED_IN, None),
    "datasets:download": (READ, None),
    "datasets:preview": (READ, None),
    "datasets:preview_content": (READ, None),
    "datasets:delete": (CHANGE, CHANGE),
    "datasets:detail": (READ, None),
    "datasets:delete_dataset": (CHANGE, CHANGE),
    "datasets:make_version": (None, CHANGE),
    "datasets:places": (READ, CHANGE),
    "datasets:residency": (READ, None),
    "datasets:residency_csv": (READ, None),
    "datasets:residency_json": (READ, None),
    "datasets:version": (READ, None),
    "datasets:manifest": (READ, None),
    "datasets:version_download": (READ, None),
    "datasets:fetch": PAGE,  # whoever has the token
    "datasets:fetch_file": PAGE,
    "datasets:sharing": (CHANGE, CHANGE),
    "datasets:end_share": (None, CHANGE),
    # usage and money
    "usage:overview": (ANY_MEMBER, None),
    "usage:csv": (ANY_MEMBER, None),
    "usage:focus": (OF_THE_WHOLE, None),
    "usage:budget": (None, MONEY_HERE),
    "usage:invoices": (OF_THE_WHOLE, None),
    "usage:invoice_address": (MONEY_HERE, MONEY_HERE),
    "usage:invoice": (INVOICED, None),
    "usage:invoice_pdf": (INVOICED, None),
    "usage:invoice_csv": (INVOICED, None),
    "usage:people": (ANY_MEMBER, None),
    "usage:jobs": (ANY_MEMBER, None),
    "usage:job": (Rule(INSIDE, newcomer=START), None),
    "usage:budgets": (ANY_MEMBER, None),
    "usage:budget_new": (MONEY_HERE, MONEY_HERE),
    "usage:budget_edit": (MONEY, MONEY),
    "usage:budget_remove": (None, MONEY),
    "usage:request": (DECIDER, DECIDER),
    # people and places
    "accounts:profile": OWN_FORM,
    "accounts:switch": (None, NOWHERE),
    "accounts:organization": (ANY_MEMBER, OWN_HERE),
    "accounts:hand_over": (OWN_HERE, OWN_HERE),
    "accounts:leave": (ANY_MEMBER, ANY_MEMBER),
    "accounts:members": (ANY_MEMBER, None),
    "accounts:invite": (MANAGE_HERE, MANAGE_HERE),
    "accounts:member": (MANAGE_MEMBER, MANAGE_MEMBER),
    "accounts:member_remove": (MANAGE_MEMBER, MANAGE_MEMBER),
    "accounts:invitation_resend": (None, MANAGE_INVITATION),
    "accounts:invitation_revoke": (None, MANAGE_INVITATION),
    "accounts:projects": (ANY_MEMBER, None),
    "accounts:project_new": (MANAGE_HERE, MANAGE_HERE),
    "accounts:project": (MANAGE_PROJECT, MANAGE_PROJECT),
    "accounts:project_close": (MANAGE_PROJECT, MANAGE_PROJECT),
    "accounts:project_reopen": (None, MANAGE_PROJECT),
    "accounts:registries": (MANAGE_HERE, None),
    "accounts:registry_new": (MANAGE_HERE, MANAGE_HERE),
    "accounts:registry": (MANAGE_LOGIN, MANAGE_LOGIN),
    "accounts:registry_remove": (MANAGE_LOGIN, MANAGE_LOGIN),
    "accounts:invitation": (EVERYBODY, SIGNED_IN),
    # the staff desk
    "desk:offerings": (AT_DESK, None),
    "desk:offering_new": (AT_DESK, AT_DESK),
    "desk:offering": (AT_DESK, AT_DESK),
    "desk:price_new": (AT_DESK, AT_DESK),
    "desk:confirm": (None, AT_DESK),
    "desk:confirm_price": (None, AT_DESK),
    "desk:end": (AT_DESK, AT_DESK),
    "desk:bring_back": (None, AT_DESK),
    "differences:list": (AT_DESK, None),
    "differences:one": (AT_DESK, AT_DESK),
    # signing in (django-allauth)
    "account_login": SIGNED_OUT_FORM,
    "account_logout": SIGNED_OUT_FORM,
    "account_inactive": PAGE,
    "account_signup": SIGNED_OUT_FORM,
    "account_reauthenticate": OWN_FORM,
    "account_email": OWN_FORM,
    "account_email_verification_sent": (STEP, STEP),
    "account_change_password": OWN_FORM,
    "account_set_password": OWN_FORM,
    "account_reset_password": SIGNED_OUT_FORM,
    "account_confirm_login_code": (STEP, STEP),
    "account_confirm_password_reset_code": (NEVER_BEGUN, NEVER_BEGUN),
    "account_complete_password_reset": SIGNED_OUT_FORM,
    "account_password_reset_completed": PAGE,
    "mfa_index": (SIGNED_IN, None),
    "mfa_authenticate": (STEP, STEP),
    "mfa_reauthenticate": OWN_FORM,
    "mfa_activate_totp": OWN_FORM,
    "mfa_deactivate_totp": (AT_DESK, AT_DESK),  # staff have set it up
    "mfa_view_recovery_codes": (NOT_SET_UP, None),
    "mfa_generate_recovery_codes": OWN_FORM,
    "mfa_download_recovery_codes": (NOT_SET_UP, NOT_SET_UP),
    "mfa_list_webauthn": (SIGNED_IN, None),
    "mfa_add_webauthn": OWN_FORM,
    "mfa_reauthenticate_webauthn": OWN_FORM,
    "mfa_remove_webauthn": OWN_PASSKEY,
    "mfa_edit_webauthn": OWN_PASSKEY,
    "mfa_login_webauthn": (STEP, STEP),
    "usersessions_list": OWN_FORM,
}


def test_every_url_has_a_row() -> None:
    names = {name for name, _pattern in _urls(get_resolver())}
    assert (sorted(names - set(TABLE)), sorted(set(TABLE) - names)) == ([], [])


@pytest.fixture
def tenant(organization: Organization, project: Project, settings: Any) -> dict[str, Any]:
    """One of everything that a URL can name, in the organization of the personas."""
    settings.MACHINES_URL = settings.PORTAL_URL
    give_credit(project, 10_000)
    owner = MembershipFactory(organization=organization, role=Role.OWNER, user__email="owner@example.jp").user
    job = JobFactory(project=project, submitted_by=owner)
    attempt = AttemptFactory(job=job)
    dataset = DatasetFactory(project=project, created_by=owner, latest_number=1)
    data_file = DataFileFactory(dataset=dataset, added_in=1)
    version = DatasetVersionFactory(dataset=data_file.dataset, number=1)
    storage.put_bytes(data_file.storage_key, b"words")
    sending = DataFileFactory(dataset=data_file.dataset, state="uploading", sha256="", ready_at=None, size_bytes=5)
    token = "t" * 43
    invitation = Invitation.objects.create(
        organization=organization, email="invited@example.jp", role=Role.MEMBER, invited_by=owner,
        token_digest=hashlib.sha256(token.encode()).hexdigest(), expires_at=timezone.now() + timedelta(days=7),
    )  # fmt: skip
    membership = MembershipFactory(organization=organization, role=Role.MEMBER)
    price = PriceFactory()
    metered(project, owner, price, job_code=job.code, started_at=timezone.now() - timedelta(hours=1), seconds=5, held=9)
    return {
        "owner": owner,
        "job": job.code,
        "line": WaitlistEntry.objects.create(user=owner, organization=organization, offering=price.offering, gpus=1).pk,
        "sweep": SweepTaskFactory(sweep__project=project, sweep__submitted_by=owner).sweep.code,
        "difference": DifferenceFactory(account=attempt.account).pk,
        "claim": claims.address_of(attempt).rstrip("/").rpartition("/")[2],
        "artifact": ArtifactFactory(job=job, storage_key=data_file.storage_key).pk,
        "file": data_file.code,
        "fetch": fetching.token_for(version, owner, session_of(owner)),
        "sending": sending.code,
        "dataset": data_file.dataset.code,
        "certificate": DeletionCertificateFactory(dataset__project=project).code,
        "share": DatasetShareFactory(dataset=data_file.dataset).pk,
        "project": project.code,
        "invitation": invitation.pk,
        "token": token,
        "membership": membership.pk,
        "login": RegistryLoginFactory(organization=organization).pk,
        "budget": BudgetFactory(organization=organization, project=project, updated_by=owner).pk,
        "request": SpendRequestFactory(project=project, asked_by=owner).code,
        "offering": price.offering.slug,
        "price": price.pk,
        "number": InvoiceFactory(organization=organization).number,
    }


def _person(persona: str, organization: Organization, project: Project, tenant: dict[str, Any]) -> User | None:
    match persona:
        case "anonymous":
            return None
        case "owner":
            return tenant["owner"]  # type: ignore[no-any-return]
        case "staff":
            return StaffFactory(email="staff@example.jp")
        case "newcomer":
            return UserFactory(email="newcomer@example.jp")
        case "stranger":
            other = ProjectFactory()
            give_credit(other, 1)
            return MembershipFactory(organization=other.organization, role=Role.OWNER).user
        case "project_member":
            return MembershipFactory(organization=organization, project=project, role=Role.MEMBER).user
    return MembershipFactory(organization=organization, role=Role(persona)).user


@pytest.mark.parametrize("persona", PERSONAS)
def test_every_url_for(
    persona: str,
    organization: Organization,
    project: Project,
    tenant: dict[str, Any],
    client_of: Callable[..., Client],
    desk_of: Callable[..., Client],
    storage_ready: None,
    tmp_path: Any,
    settings: Any,
) -> None:
    settings.EMAIL_FILE_PATH = tmp_path
    user = _person(persona, organization, project, tenant)
    client = desk_of(user) if persona == "staff" else client_of(user) if user else Client()
    signed_in = client.cookies.copy()
    wrong = []
    for name, rules in sorted(TABLE.items()):
        url = reverse(name, kwargs=_arguments(name, tenant))
        for method, rule in zip(("get", "post"), rules, strict=True):
            client.cookies = signed_in.copy()
            with transaction.atomic():
                got = _classify(getattr(client, method)(url))
                transaction.set_rollback(True)  # no answer changes what the next one sees
            expected = rule.expected(persona) if rule else NO_METHOD
            if rule is None and got == LOGIN:
                got = NO_METHOD  # asking to sign in before refusing the method is as good
            if got != expected:
                wrong.append(f"{method} {name} {url}: {got}, expected {expected}")
    assert not wrong, "\n".join(wrong)


def _arguments(name: str, tenant: dict[str, Any]) -> dict[str, Any]:
    if name.startswith("jobs:artifact") and name != "jobs:artifacts":
        return {"code": tenant["job"], "pk": tenant["artifact"]}
    if name.startswith("desk:") and name not in ("desk:offerings", "desk:offering_new"):
        return {"slug": tenant["offering"], **({"pk": tenant["price"]} if name == "desk:confirm_price" else {})}
    if name.startswith("jobs:sweep") and name != "jobs:sweeps":
        return {"code": tenant["sweep"]}
    by_name = {
        "catalog:leave_line": {"pk": tenant["line"]},
        "differences:one": {"pk": tenant["difference"]},
        "machine:claim": {"token": tenant["claim"]},
        "accounts:member": {"pk": tenant["membership"]},
        "accounts:member_remove": {"pk": tenant["membership"]},
        "accounts:registry": {"pk": tenant["login"]},
        "accounts:registry_remove": {"pk": tenant["login"]},
        "accounts:invitation": {"token": tenant["token"]},
        "accounts:invitation_resend": {"pk": tenant["invitation"]},
        "accounts:invitation_revoke": {"pk": tenant["invitation"]},
        "datasets:detail": {"code": tenant["dataset"]},
        "datasets:last_day": {"code": tenant["dataset"]},
        "datasets:certificate": {"code": tenant["certificate"]},
        "datasets:certificate_json": {"code": tenant["certificate"]},
        "datasets:delete_dataset": {"code": tenant["dataset"]},
        "datasets:make_version": {"code": tenant["dataset"]},
        **{
            f"datasets:{page}": {"code": tenant["dataset"]}
            for page in ("places", "residency", "residency_csv", "residency_json")
        },
        "datasets:version": {"code": tenant["dataset"], "number": 1},
        "datasets:manifest": {"code": tenant["dataset"], "number": 1},
        "datasets:version_download": {"code": tenant["dataset"], "number": 1},
        "datasets:fetch": {"token": tenant["fetch"]},
        "datasets:fetch_file": {"token": tenant["fetch"], "code": tenant["file"]},
        "datasets:sharing": {"code": tenant["dataset"]},
        "datasets:end_share": {"code": tenant["dataset"], "pk": tenant["share"]},
        "datasets:download": {"code": tenant["file"]},
        "datasets:preview": {"code": tenant["file"]},
        "datasets:preview_content": {"code": tenant["file"]},
        "datasets:delete": {"code": tenant["file"]},
        **{f"usage:invoice{page}": {"number": tenant["number"]} for page in ("", "_pdf", "_csv")},
        "usage:job": {"code": tenant["job"]},
        "usage:budget_edit": {"pk": tenant["budget"]},
        "usage:budget_remove": {"pk": tenant["budget"]},
        "usage:request": {"code": tenant["request"]},
        "mfa_remove_webauthn": {"pk": 1},
        "mfa_edit_webauthn": {"pk": 1},
        "dev:mail_message": {"name": "none.log"},
    }
    if name in by_name:
        return by_name[name]
    pattern = dict(_urls(get_resolver()))[name]
    if "<str:code>" in pattern:
        kind = {"jobs": "job", "datasets": "sending", "accounts": "project"}[name.split(":")[0]]
        return {"code": tenant[kind]}
    return {}


def _classify(response: HttpResponse) -> str:
    if response.status_code == 302 and response["Location"].startswith("/account/login/"):
        return LOGIN
    if response.status_code == 302 and response["Location"] == reverse("home:start"):
        return START
    if response.status_code in (403, 404, 405):
        return str(response.status_code)
    if response.status_code == 503 and response["Content-Type"] == "application/json":
        return THROUGH  # /readyz: no worker runs here
    return THROUGH if response.status_code < 500 else f"error {response.status_code}"


def _urls(resolver: URLResolver, namespace: str = "", prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = namespace + (f"{entry.namespace}:" if entry.namespace else "")
            yield from _urls(entry, inner, prefix + str(entry.pattern))
        elif isinstance(entry, URLPattern):
            yield f"{namespace}{entry.name}", prefix + str(entry.pattern)


def test_a_role_taken_away_works_at_once(
    organization: Organization, project: Project, tenant: dict[str, Any], client_of: Callable[..., Client]
) -> None:
    member = MembershipFactory(organization=organization, role=Role.MEMBER).user
    client = client_of(member)
    url = reverse("jobs:detail", kwargs={"code": tenant["job"]})
    before = client.get(url).status_code
    Membership.objects.filter(user=member).delete()
    assert (before, client.get(url).status_code) == (200, 404)
