"""One of everything that a page can show, made the way people make it: for the tests that look at every page."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser import acts
from tests.browser.conftest import Portal, sign_in

TEXT = "国産GPUで日本語モデルを学習する。The quick brown fox jumps over the lazy dog.\n" * 40
WAITS_FOR_ANOTHER = "同じアカウントのほかのジョブが終わるのを待っています"

# Nobody waits for a month to be over.
INVOICE = """
from portal.accounts.models import Organization
from tests.factories import InvoiceFactory
print(InvoiceFactory(organization=Organization.objects.get(name__contains="デモ"), lines=3).number)
"""
# Nor for a provider to count wrongly.
DIFFERENCE = """
from portal.catalog.models import ProviderAccount
from tests.factories import DifferenceFactory
print(DifferenceFactory(account=ProviderAccount.objects.order_by("pk")[0]).pk)
"""


@dataclass
class World:
    """`owner` has one of everything, `beginner` an organization with nothing in it, `newcomer` no organization;
    `guarded` signs in with a second step and is staff."""

    portal: Portal
    jobs: dict[str, str] = field(default_factory=dict)  # done, failed, stopped: their codes
    at: dict[str, str] = field(default_factory=dict)  # what else stands in an address
    totp_secret: str = ""

    def address(self, path: str) -> str:
        """`/jobs/{done}/` and the like, filled in."""
        return path.format(**self.jobs, **self.at)

    def login(self, persona: str) -> dict[str, str]:
        if persona in ("owner", "accountant"):
            return self.portal.logins()[{"owner": "owner", "accountant": "billing"}[persona]]
        return {"email": f"{persona}@world.example", "password": acts.PASSWORD}


def make(browser: Browser, portal: Portal, folder: Path) -> World:
    world = World(portal)
    words = folder / "words.txt"
    words.write_text(TEXT, encoding="utf-8")
    owner = person(browser, portal)
    sign_in(owner, world.login("owner"))
    acts.upload(owner, words, dataset="語彙コーパス")
    world.jobs["done"] = acts.submit(
        owner, template="word-statistics", offering="dok-h100", name="語数の集計", file="words.txt"
    )
    world.jobs["failed"] = acts.submit(owner, template="failing", offering="demo-gb200", name="設定漏れの学習")
    world.jobs["stopped"] = acts.submit(owner, template="countdown", offering="demo-gb200", name="長い学習")
    _make_what_addresses_name(owner, world)
    world.at["sweep"] = acts.sweep(owner, parameters="WORD = 東京, 大阪\nSEED = 1..2", name="乱数の種を変える")
    world.at["invoice"] = portal.manage("shell", "--no-imports", "-c", INVOICE).split()[-1]
    world.at["difference"] = portal.manage("shell", "--no-imports", "-c", DIFFERENCE).split()[-1]
    _stop_when_it_writes(owner, world.jobs["stopped"])
    for name, state in (("done", "完了"), ("failed", "失敗"), ("stopped", "停止済み")):
        owner.goto(f"/jobs/{world.jobs[name]}/")
        acts.wait_for_state(owner, state)
    owner.goto(f"/jobs/{world.jobs['done']}/artifacts/")
    world.at["artifact"] = _last_number(owner, "main table th a")
    owner.context.close()
    for persona in ("newcomer", "beginner", "guarded"):
        _make_account(person(browser, portal), world, persona)
    return world


def waiting_and_running(page: Page) -> dict[str, str]:
    """Their codes. They stay so: one job runs at a time at Sakura, and this one runs for forty minutes."""
    running = acts.submit(
        page, template="countdown", offering="dok-h100", name="ファインチューニング", minutes=60,
        environment="STEPS=1200\nSECONDS_PER_STEP=2",
    )  # fmt: skip
    acts.wait_for_state(page, "実行中")
    page.wait_for_selector("#log-lines li:nth-child(3)", timeout=30_000)
    waiting = acts.submit(page, template="countdown", offering="dok-h100", name="次の学習", minutes=20)
    page.wait_for_selector(f"#job-live .notice:has-text('{WAITS_FOR_ANOTHER}')", timeout=30_000)
    return {"running": running, "waiting": waiting}


def stop(page: Page, code: str) -> None:
    """Without script, to the end."""
    page.goto(f"/jobs/{code}/stop/")
    page.click("main .btn.danger")
    acts.wait_for_state(page, "停止済み")


def totp(secret: str) -> str:
    """The code of this half minute (RFC 6238)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"


def add_virtual_key(page: Page) -> None:
    """A security key in the browser that always says yes."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                "isUserVerified": True, "automaticPresenceSimulation": True,
            }
        },
    )  # fmt: skip


def person(browser: Browser, portal: Portal) -> Page:
    context = browser.new_context(base_url=portal.url, locale="ja-JP", timezone_id="Asia/Tokyo")
    context.set_default_timeout(20_000)
    return context.new_page()


def _make_what_addresses_name(owner: Page, world: World) -> None:
    owner.goto("/datasets/")
    world.at["dataset"] = _last_word(owner, "#datasets th a")
    owner.goto(world.address("/datasets/{dataset}/"))
    world.at["file"] = owner.locator("#files tbody tr").first.get_attribute("id") or ""
    make_version = owner.locator("#files form[action$='/versions/'] button")
    if make_version.count():
        make_version.click()
    owner.goto("/datasets/form/")
    owner.fill("[name=name]", "half-sent.txt")
    owner.fill("[name=dataset_name]", "途中のデータ")
    owner.click("main button.primary")
    owner.wait_for_url("**/send/")
    world.at["sending"] = owner.url.rstrip("/").split("/")[-2]
    _delete_a_dataset(owner, world)
    owner.goto("/organization/members/invite/")
    owner.fill("[name=email]", "colleague@world.example")
    owner.check("[name=role][value=member]", force=True)
    owner.click("main form.stack button.primary")
    world.at["token"] = world.portal.wait_for_mail("colleague@world.example", r"/invitations/([\w-]+)/")
    owner.goto("/organization/members/")
    world.at["membership"] = _last_number(owner, "main a[href*='/members/'][href$='/remove/']")
    owner.goto("/organization/projects/")
    world.at["project"] = _last_word(owner, "main a[href*='/organization/projects/p']")
    owner.goto("/organization/registries/new/")
    for name, value in (("hostname", "registry.example.jp"), ("username", "robot"), ("password", "no-secret")):
        owner.fill(f"[name={name}]", value)
    owner.click("main form.stack button.primary")
    owner.wait_for_url("**/organization/registries/")
    world.at["login"] = _last_number(owner, "main a[href*='/registries/'][href$='/remove/']")


def _stop_when_it_writes(owner: Page, code: str) -> None:
    owner.goto(f"/jobs/{code}/")
    owner.wait_for_selector("#log-lines li:nth-child(3)", timeout=60_000)
    stop(owner, code)


def _make_account(page: Page, world: World, persona: str) -> None:
    acts.join_with_new_account(page, world.portal, world.login(persona)["email"])
    if persona != "newcomer":
        acts.found_organization(
            page, family_name="田中", given_name=persona, organization=f"{persona}大学", kind="university"
        )
    if persona == "guarded":
        acts.open_confirmed(page, "/account/2fa/totp/activate/")
        world.totp_secret = page.input_value("#totp-secret")
        page.fill("[name=code]", totp(world.totp_secret))
        page.click("main form.stack button.primary")
        page.wait_for_url(re.compile("/2fa/(recovery-codes/)?$"))
        world.portal.manage("staff", world.login(persona)["email"])
    page.context.close()


def _delete_a_dataset(owner: Page, world: World) -> None:
    owner.goto("/datasets/form/")
    owner.fill("[name=name]", "gone.txt")
    owner.fill("[name=dataset_name]", "削除したデータ")
    owner.click("main button.primary")
    owner.wait_for_url("**/send/")
    world.at["gone"] = _last_word(owner, "nav.path a[href^='/datasets/d-']")
    owner.goto(world.address("/datasets/{gone}/delete/"))
    owner.fill("[name=reason]", "研究の終了")
    owner.click("main button.danger")
    owner.wait_for_url("**/certificates/*/")
    world.at["certificate"] = owner.url.rstrip("/").rsplit("/", 1)[-1]


def _last_word(page: Page, link: str) -> str:
    """The last part of the first such link's address."""
    return (page.locator(link).first.get_attribute("href") or "").rstrip("/").rsplit("/", 1)[-1]


def _last_number(page: Page, link: str) -> str:
    return re.findall(r"/(\d+)/", page.locator(link).first.get_attribute("href") or "")[-1]
