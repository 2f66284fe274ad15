"""Every page of the portal and how a person gets to see it; test_pages.py compares it with the resolver."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.test import RequestFactory
from django.utils import translation
from playwright.sync_api import Page

from portal.core.error_pages import error_page
from tests.browser import acts
from tests.browser.conftest import sign_in
from tests.browser.world import World, add_virtual_key, totp


@dataclass(frozen=True)
class Stop:
    """One look at the page of a URL name. `lead_there` where opening `path` is not enough."""

    name: str
    path: str
    note: str = ""
    lead_there: Callable[[Page, World], None] | None = None

    @property
    def label(self) -> str:
        return f"{self.name} {self.note}".strip()

    def open(self, page: Page, world: World, persona: str) -> None:
        if self.lead_there:
            self.lead_there(page, world)
        elif persona == "anonymous":
            page.goto(world.address(self.path))
        else:
            acts.open_confirmed(page, world.address(self.path), world.login(persona)["password"])
        path = world.address(self.path)  # some of it is known only now
        arrived = page.url.removeprefix(world.portal.url)
        assert arrived.split("?")[0] == path.split("?")[0], f"{self.label}: {arrived}"


def _ask_for_reset_code(page: Page, world: World) -> None:
    page.goto("/account/password/reset/")
    page.fill("[name=email]", world.login("newcomer")["email"])
    page.click("main form.stack button.primary")
    page.wait_for_url("**/account/password/reset/confirm/")


def _join_a_line(page: Page, world: World) -> None:
    page.goto("/catalog/waitlist/?offering=demo-gb200")
    page.fill("[name=gpus]", "8")
    page.click("main form.stack button.primary")
    page.wait_for_selector("#mine-h")


def _enter_reset_code(page: Page, world: World) -> None:
    address = world.login("newcomer")["email"]
    before = len(world.portal.mails_to(address))
    _ask_for_reset_code(page, world)
    page.fill("[name=code]", world.portal.wait_for_mail(address, acts.CODE, after=before))
    page.click("main form.stack button.primary")
    page.wait_for_url("**/account/password/reset/complete/")


def _sign_up_and_wait(page: Page, world: World) -> None:
    acts.sign_up(page, f"unconfirmed-{page.evaluate('Date.now()')}@world.example")


def _send_an_empty_form(path: str, button: str = "main form.stack button.primary") -> Callable[[Page, World], None]:
    def lead(page: Page, world: World) -> None:
        page.goto(world.address(path))
        for form in page.locator("main form").all():
            form.evaluate("form => { form.noValidate = true; }")
        page.click(button)
        page.wait_for_selector("#error-summary")

    return lead


def _lose_the_token(page: Page, world: World) -> None:
    page.context.clear_cookies(name="sessionid")  # a sign-up that waits for its code would lead there
    page.goto("/account/login/")
    page.evaluate("document.querySelector('main form [name=csrfmiddlewaretoken]').value = 'x'.repeat(64)")
    page.fill("[name=login]", "a@world.example")
    page.fill("[name=password]", "x")
    page.click("main form.stack button.primary")
    page.wait_for_load_state()


def _second_step(page: Page, world: World) -> None:
    page.context.clear_cookies(name="sessionid")
    login = world.login("guarded")
    page.goto("/account/login/")
    page.fill("[name=login]", login["email"])
    page.fill("[name=password]", login["password"])
    page.click("main form.stack button.primary")
    page.wait_for_url("**/account/2fa/authenticate/")


def _open_stop_dialog(page: Page, world: World) -> None:
    page.goto(world.address("/jobs/{running}/"))
    page.click("#job-live [data-open='#stop']")
    page.wait_for_selector("dialog#stop[open]")


def _open_palette(page: Page, world: World) -> None:
    page.goto("/")
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog#palette[open]")


def _first_mail(page: Page, world: World) -> None:
    page.goto("/dev/mail/")
    world.at["mail"] = (page.get_attribute("main table a", "href") or "").rstrip("/").rsplit("/", 1)[-1]
    page.goto(world.address("/dev/mail/{mail}/"))


def _set_a_budget(page: Page, world: World) -> None:
    """Of a grant, since each has a name of its own: the walk is taken more than once."""
    page.goto("/usage/budgets/new/")
    page.select_option("[name=period]", "fixed")
    said = {"name": f"grant {page.evaluate('Date.now()')}", "first_day": "2026-04-01", "last_day": "2036-03-31"}
    for name, value in {**said, "limit": "9,000,000"}.items():
        page.fill(f"[name={name}]", value)
    page.click("main form.stack button.primary")
    page.wait_for_url("**/usage/budgets/")
    link = page.locator("main table a").last.get_attribute("href") or ""
    world.at["budget"] = link.rstrip("/").rsplit("/", 1)[-1]


def _ask_for_an_approval(page: Page, world: World) -> None:
    """As the form does where a budget is in the way."""
    page.goto(world.address("/jobs/new/?copy={done}"))
    page.evaluate(
        """() => Object.entries({ask: "1", ask_reason: "deadline"}).forEach(([name, value]) => {
          const said = Object.assign(document.createElement("input"), {type: "hidden", name, value});
          document.querySelector("#job-form").append(said);
        })"""
    )
    page.click(".quote button.primary")
    page.wait_for_url("**/usage/requests/*/")
    world.at["request"] = page.url.rstrip("/").rsplit("/", 1)[-1]


SIGNED_OUT = (
    Stop("home:dashboard", "/", "signed out"),
    Stop("catalog:list", "/catalog/", "signed out"),
    Stop("home:status", "/status/", "signed out"),
    Stop("home:help", "/help/", "signed out"),
    Stop("home:licences", "/licences/"),
    Stop("home:placement", "/placement/"),
    Stop("account_login", "/account/login/"),
    Stop("account_login", "/account/login/", "errors", _send_an_empty_form("/account/login/")),
    Stop("account_signup", "/account/signup/"),
    Stop("account_signup", "/account/signup/", "errors", _send_an_empty_form("/account/signup/")),
    Stop("account_email_verification_sent", "/account/confirm-email/", "", _sign_up_and_wait),
    Stop("account_reset_password", "/account/password/reset/"),
    Stop("account_confirm_password_reset_code", "/account/password/reset/confirm/", "", _ask_for_reset_code),
    Stop("account_complete_password_reset", "/account/password/reset/complete/", "", _enter_reset_code),
    Stop("account_password_reset_completed", "/account/password/reset/done/"),
    Stop("account_inactive", "/account/inactive/"),
    Stop("accounts:invitation", "/invitations/{token}/", "signed out"),
    Stop("dev:mail", "/dev/mail/", "signed out"),
    Stop("error 404", "/nowhere/", "signed out"),
    Stop("error 403 token", "/account/login/", "", _lose_the_token),
    Stop("mfa_authenticate", "/account/2fa/authenticate/", "", _second_step),
)
NEWCOMER = (
    Stop("home:start", "/start/"),
    Stop("home:start", "/start/", "errors", _send_an_empty_form("/start/")),
    Stop("accounts:invitation", "/invitations/{token}/", "for another address"),
    Stop("catalog:list", "/catalog/", "no organization"),
)
BEGINNER = (
    Stop("home:dashboard", "/", "empty"),
    Stop("jobs:list", "/jobs/", "empty"),
    Stop("datasets:list", "/datasets/", "empty"),
    Stop("usage:overview", "/usage/", "empty"),
    Stop("accounts:members", "/organization/members/", "alone"),
    Stop("accounts:registries", "/organization/registries/", "none"),
    Stop("accounts:leave", "/organization/leave/", "alone"),
    Stop("accounts:hand_over", "/organization/hand-over/", "alone"),
    Stop("mfa_index", "/account/2fa/", "off"),
    Stop("mfa_activate_totp", "/account/2fa/totp/activate/"),
    Stop("mfa_add_webauthn", "/account/2fa/webauthn/add/"),
    Stop("mfa_list_webauthn", "/account/2fa/webauthn/", "empty"),
    Stop("account_reauthenticate", "/account/reauthenticate/"),
    Stop("error 404", "/jobs/{done}/", "another tenant's job"),
)
GUARDED = (
    Stop("mfa_index", "/account/2fa/", "on"),
    Stop("mfa_deactivate_totp", "/account/2fa/totp/deactivate/"),
    Stop("mfa_view_recovery_codes", "/account/2fa/recovery-codes/"),
    Stop("mfa_generate_recovery_codes", "/account/2fa/recovery-codes/generate/"),
    Stop("mfa_reauthenticate", "/account/2fa/reauthenticate/"),
    Stop("mfa_list_webauthn", "/account/2fa/webauthn/", "rows"),
    Stop("mfa_edit_webauthn", "/account/2fa/webauthn/keys/{key}/edit/"),
    Stop("mfa_remove_webauthn", "/account/2fa/webauthn/keys/{key}/remove/"),
    Stop("mfa_reauthenticate_webauthn", "/account/2fa/webauthn/reauthenticate/"),
    Stop("desk:offerings", "/desk/catalog/"),
    Stop("desk:offering_new", "/desk/catalog/new/"),
    Stop("desk:offering", "/desk/catalog/vrt-h100/", "three prices"),
    Stop("desk:offering", "/desk/catalog/kddi-gb200/", "no price"),
    Stop("desk:price_new", "/desk/catalog/vrt-h100/price/"),
    Stop(
        "desk:price_new",
        "/desk/catalog/vrt-h100/price/",
        "errors",
        _send_an_empty_form("/desk/catalog/vrt-h100/price/"),
    ),
    Stop("desk:end", "/desk/catalog/vrt-h100/end/"),
    Stop("differences:list", "/desk/usage/"),
    Stop("differences:list", "/desk/usage/?decided=1", "empty"),
    Stop("differences:one", "/desk/usage/{difference}/"),
    Stop("differences:one", "/desk/usage/{difference}/", "errors", _send_an_empty_form("/desk/usage/{difference}/")),
)
OWNER = (
    Stop("home:dashboard", "/", "rows"),
    Stop("home:dashboard", "/", "command palette", _open_palette),
    Stop("home:status", "/status/"),
    Stop("home:help", "/help/"),
    Stop("dev:mail_message", "/dev/mail/{mail}/", "", _first_mail),
    Stop("catalog:list", "/catalog/"),
    Stop("catalog:list", "/catalog/?cmp=dok-h100&cmp=demo-gb200&cmp=soroban-cluster", "compared"),
    Stop("catalog:list", "/catalog/?provider=kddi&gpu=B200", "nothing fits"),
    Stop("jobs:list", "/jobs/", "rows"),
    Stop("jobs:list", "/jobs/?q=nothing-is-called-so", "nothing matches"),
    Stop("jobs:views", "/jobs/views/?state=failed", "first"),
    Stop("jobs:compare", "/jobs/compare/?job={done}&job={running}"),
    Stop("jobs:compare", "/jobs/compare/?job={done}", "too few"),
    Stop("jobs:stop_many", "/jobs/many/stop/?job={done}&job={running}"),
    Stop("jobs:copy_many", "/jobs/many/copy/?job={done}&job={running}"),
    Stop("jobs:copy_many", "/jobs/many/copy/", "nothing chosen"),
    Stop("catalog:choose", "/catalog/choose/", "questions"),
    Stop("catalog:choose", "/catalog/choose/?purpose=lora&size=8000&place=sakura", "answers"),
    Stop("catalog:choose", "/catalog/choose/?purpose=train&size=405000&budget=1000&deadline=8", "impossible"),
    Stop("catalog:choose", "/catalog/choose/?purpose=&budget=x", "errors"),
    Stop("jobs:new", "/jobs/new/?template=empty", "empty"),
    Stop("jobs:new", "/jobs/new/?template=word-statistics&offering=demo-gb200", "starter"),
    Stop("jobs:new", "/jobs/new/?copy={done}", "copy"),
    Stop("jobs:new", "/jobs/new/", "errors", _send_an_empty_form("/jobs/new/?template=empty", ".quote button.primary")),
    Stop("jobs:quote", "/jobs/new/quote/"),
    Stop("jobs:detail", "/jobs/{waiting}/", "waiting"),
    Stop("jobs:detail", "/jobs/{running}/", "running"),
    Stop("jobs:detail", "/jobs/{running}/", "stop dialog", _open_stop_dialog),
    Stop("jobs:detail", "/jobs/{done}/", "done"),
    Stop("jobs:detail", "/jobs/{failed}/", "failed"),
    Stop("jobs:detail", "/jobs/{stopped}/", "stopped"),
    Stop("jobs:artifacts", "/jobs/{done}/artifacts/", "rows"),
    Stop("jobs:artifacts", "/jobs/{running}/artifacts/", "none yet"),
    Stop("jobs:residency", "/jobs/{done}/residency/", "job done"),
    Stop("jobs:residency", "/jobs/{running}/residency/", "job under way"),
    Stop("jobs:artifact_preview", "/jobs/{done}/artifacts/{artifact}/preview/"),
    Stop("jobs:keep", "/jobs/{done}/artifacts/keep/"),
    Stop("jobs:events", "/jobs/{failed}/events/"),
    Stop("jobs:config", "/jobs/{done}/config/"),
    Stop("jobs:lines", "/jobs/{done}/lines/"),
    Stop("jobs:stop", "/jobs/{running}/stop/"),
    Stop("jobs:extend", "/jobs/{running}/extend/"),
    Stop("jobs:stop", "/jobs/{done}/stop/", "too late"),
    Stop("catalog:waitlist", "/catalog/waitlist/?offering=demo-gb200", "", _join_a_line),
    Stop("jobs:sweeps", "/jobs/sweeps/", "rows"),
    Stop("jobs:sweep", "/jobs/sweeps/{sweep}/"),
    Stop("jobs:sweep_stop", "/jobs/sweeps/{sweep}/stop/"),
    Stop("jobs:sweep_again", "/jobs/sweeps/{sweep}/again/"),
    Stop("datasets:list", "/datasets/", "rows"),
    Stop("datasets:detail", "/datasets/{dataset}/"),
    Stop("datasets:version", "/datasets/{dataset}/versions/1/"),
    Stop("datasets:version_download", "/datasets/{dataset}/versions/1/download/"),
    Stop("datasets:form", "/datasets/form/"),
    Stop("datasets:send", "/datasets/files/{sending}/send/"),
    Stop("datasets:delete", "/datasets/files/{file}/delete/"),
    Stop("datasets:delete_dataset", "/datasets/{dataset}/delete/"),
    Stop("datasets:sharing", "/datasets/{dataset}/sharing/"),
    Stop("datasets:last_day", "/datasets/{dataset}/last-day/"),
    Stop("datasets:detail", "/datasets/{gone}/", "deleted"),
    Stop("datasets:certificates", "/datasets/certificates/"),
    Stop("datasets:certificate", "/datasets/certificates/{certificate}/"),
    Stop("datasets:storage", "/datasets/storage/"),
    Stop("datasets:preview", "/datasets/files/{file}/preview/"),
    Stop("datasets:residency", "/datasets/{dataset}/residency/"),
    Stop("usage:overview", "/usage/", "used"),
    Stop("usage:request", "/usage/requests/{request}/", "", _ask_for_an_approval),
    Stop("usage:budgets", "/usage/budgets/", "rows", _set_a_budget),
    Stop("usage:budget_edit", "/usage/budgets/{budget}/"),
    Stop("usage:budget_new", "/usage/budgets/new/", "errors", _send_an_empty_form("/usage/budgets/new/")),
    Stop("usage:overview", "/usage/?by=gpu", "by GPU"),
    Stop("usage:invoices", "/usage/invoices/", "rows"),
    Stop("usage:invoice", "/usage/invoices/{invoice}/"),
    Stop("usage:invoice_address", "/usage/invoices/address/"),
    Stop("usage:overview", "/usage/?month=2026fy", "a year"),
    Stop("usage:people", "/usage/people/"),
    Stop("usage:jobs", "/usage/jobs/"),
    Stop("usage:job", "/usage/jobs/{done}/"),
    Stop("accounts:members", "/organization/members/", "rows"),
    Stop("accounts:invite", "/organization/members/invite/"),
    Stop("accounts:member", "/organization/members/{membership}/"),
    Stop("accounts:member_remove", "/organization/members/{membership}/remove/"),
    Stop("accounts:projects", "/organization/projects/"),
    Stop("accounts:project_new", "/organization/projects/new/"),
    Stop("accounts:project", "/organization/projects/{project}/"),
    Stop("accounts:project_close", "/organization/projects/{project}/close/"),
    Stop("accounts:registries", "/organization/registries/"),
    Stop("accounts:registry_new", "/organization/registries/new/"),
    Stop("accounts:registry", "/organization/registries/{login}/"),
    Stop("accounts:registry_remove", "/organization/registries/{login}/remove/"),
    Stop("accounts:organization", "/organization/"),
    Stop("accounts:hand_over", "/organization/hand-over/", "people"),
    Stop("accounts:leave", "/organization/leave/"),
    Stop("accounts:profile", "/profile/"),
    Stop("account_email", "/account/email/"),
    Stop("account_change_password", "/account/password/change/"),
    Stop("usersessions_list", "/account/sessions/"),
    Stop("account_logout", "/account/logout/"),
    Stop("error 404", "/nowhere/", "signed in"),
)
ACCOUNTANT = (
    Stop("home:dashboard", "/", "accountant"),
    Stop("usage:overview", "/usage/", "accountant"),
    Stop("error 403", "/organization/members/{membership}/"),
)
WALK = {
    "anonymous": SIGNED_OUT, "newcomer": NEWCOMER, "beginner": BEGINNER, "guarded": GUARDED, "owner": OWNER,
    "accountant": ACCOUNTANT,
}  # fmt: skip

NO_PAGE = {
    "answered with data or a file": (
        "home:healthz", "home:readyz", "catalog:csv", "jobs:csv", "usage:csv", "usage:invoice_csv", "usage:invoice_pdf",
        "jobs:log", "jobs:artifact", "usage:focus", "datasets:begin",
        "datasets:parts", "datasets:complete", "datasets:states", "datasets:download", "datasets:certificate_json",
        "datasets:manifest", "datasets:fetch", "datasets:fetch_file", "mfa_download_recovery_codes",
        "datasets:residency_csv", "datasets:residency_json", "jobs:residency_csv", "jobs:residency_json",
        "jobs:sweep_csv", "mfa_login_webauthn", "machine:claim",
    ),
    "a part of another page": (
        "datasets:places", "datasets:preview_content", "datasets:token", "jobs:artifact_content",
    ),
    "answered with a redirect": (
        "home:theme", "set_language", "accounts:switch", "accounts:invitation_resend", "accounts:invitation_revoke",
        "accounts:project_reopen", "datasets:cancel", "datasets:posted", "datasets:make_version", "usage:budget",
        "usage:budget_remove", "jobs:move", "catalog:leave_line",
        "desk:confirm", "desk:confirm_price", "desk:bring_back", "datasets:end_share",
    ),
    "the page of another name, or of a way to sign in that is switched off": (
        "jobs:draft", "jobs:many", "account_set_password", "account_confirm_login_code",
    ),
}  # fmt: skip

# Those of a portal that is unwell cannot be walked to: they are drawn here and shown under the portal's address.
DRAWN_ERRORS = (400, 403, 404, 429, 500, 503)


def sign_in_as(persona: str, page: Page, world: World) -> None:
    if persona == "anonymous":
        return
    if persona == "guarded":
        _second_step(page, world)
        _give_code(page, world)
        if "/authenticate" in page.url:  # each code is taken once, and the last one was of this very half minute
            page.wait_for_timeout(1000 * (30 - time.time() % 30) + 500)
            _give_code(page, world)
        page.wait_for_url(lambda url: "/authenticate" not in url)
        _add_passkey(page, world)
    else:
        sign_in(page, world.login(persona))


def _give_code(page: Page, world: World) -> None:
    page.fill("main form.stack [name=code]", totp(world.totp_secret))
    with page.expect_navigation():
        page.click("main form.stack button.primary")


def drawn_error(status: int, *, language: str) -> str:
    with translation.override(language):
        return error_page(RequestFactory().get("/"), status).content.decode()


def _add_passkey(page: Page, world: World) -> None:
    add_virtual_key(page)
    acts.open_confirmed(page, "/account/2fa/webauthn/add/", world.login("guarded")["password"])
    page.fill("[name=name]", "key")
    page.click("main form.stack button.primary")
    page.wait_for_url(lambda url: "/webauthn/add/" not in url)
    page.goto("/account/2fa/webauthn/")
    world.at["key"] = re.findall(r"/keys/(\d+)/", page.inner_html("main"))[0]
