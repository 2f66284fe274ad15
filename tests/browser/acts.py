"""What a person does at the portal, found by field names and addresses, so that it works in every language."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Portal

PASSWORD = "Correct-horse-battery-9"  # of the people that the journeys sign up
SWEPT = """import json, os
seed = int(os.environ["SEED"])
print("task", os.environ["TASK_NUMBER"], "of", os.environ["TASK_COUNT"])
with open(os.environ["PORTAL_OUTPUT_DIR"] + "/result.json", "w") as file:
    json.dump({"loss": round(1 / (1 + seed), 4), "word": os.environ.get("WORD", "")}, file)
"""
CODE = r"\n +([A-Z0-9-]{4,12})\n"


def sign_up(page: Page, email: str, *, to: str = "/account/signup/") -> None:
    """Ends where the code from the mail is asked for."""
    page.goto(to)
    page.fill("[name=email]", email)
    page.fill("[name=password1]", PASSWORD)
    page.click("main form.stack button.primary")
    page.wait_for_url("**/account/confirm-email/**")


def confirm(page: Page, code: str) -> None:
    page.fill("[name=code]", code)
    page.click("main form.stack button.primary")
    page.wait_for_url(lambda url: "confirm-email" not in url)


def found_organization(page: Page, *, family_name: str, given_name: str, organization: str, kind: str) -> None:
    page.wait_for_url("**/start/")
    page.fill("[name=family_name]", family_name)
    page.fill("[name=given_name]", given_name)
    page.check(f"[name=kind][value={kind}]", force=True)  # the pill covers its radio button
    page.fill("[name=organization_name]", organization)
    page.click("main form.stack button.primary")
    page.wait_for_url(lambda url: url.rstrip("/").count("/") == 2)


def join_with_new_account(page: Page, portal: Portal, email: str) -> None:
    """Sign up, confirm, and stand on the first page."""
    sign_up(page, email)
    confirm(page, portal.wait_for_mail(email, CODE))


def open_confirmed(page: Page, path: str, password: str = PASSWORD) -> None:
    """A page that asks for the password again unless it was given just now."""
    page.goto(path)
    if "/reauthenticate/" in page.url and "/reauthenticate/" not in path:
        page.fill("[name=password]", password)
        page.click("main form.stack button.primary")
        page.wait_for_url(f"**{path}")


def upload(page: Page, file: Path, *, dataset: str) -> None:
    """By the page's own script, to the end of the verification."""
    page.goto("/datasets/")
    page.fill("[name=dataset_name]", dataset)
    page.set_input_files("[data-files]", file)
    page.wait_for_selector("[data-rows] [data-act=open]:not([hidden])", timeout=30_000)


def upload_plainly(page: Page, file: Path, *, dataset: str) -> None:
    """By the two steps of the plain form."""
    page.goto("/datasets/form/")
    page.fill("[name=name]", file.name)
    page.fill("[name=dataset_name]", dataset)
    page.click("main button.primary")
    page.wait_for_url("**/send/")
    page.set_input_files("[name=file]", file)
    page.click("main button.primary")
    page.wait_for_url(re.compile(r"/datasets/[^/]+/(\?.*)?$"))


def submit(
    page: Page, *, template: str, offering: str, name: str, file: str = "", minutes: int = 5, environment: str = ""
) -> str:
    """The new job's code. `file`: of the files in no version, the one whose line has this in it; else the newest
    dataset is attached, as its newest version."""
    page.goto(f"/jobs/new/?template={template}&offering={offering}")
    page.fill("[name=name]", name)
    if file:
        loose = page.locator("#files label.check.in", has_text=file)
        (loose if loose.count() else page.locator("#files label.check").first).locator("input").check()
    page.fill("[name=time_amount]", str(minutes))
    page.select_option("[name=time_unit]", "minutes")
    page.fill("[name=environment]", environment)
    page.click("#job-form .quote button.primary")
    page.wait_for_url(re.compile(r"/jobs/J-[^/]+/$"))
    return page.url.rstrip("/").rsplit("/", 1)[1]


def sweep(page: Page, *, parameters: str, name: str) -> str:
    """The new sweep's code: a small script that leaves a result for each task."""
    page.goto("/jobs/new/?template=empty&offering=soroban-cluster")
    page.fill("[name=name]", name)
    page.fill("[name=script]", SWEPT)
    page.fill("[name=time_amount]", "5")
    page.select_option("[name=time_unit]", "minutes")
    page.click("#many summary")
    page.fill("[name=parameters]", parameters)
    page.wait_for_selector("#many tbody tr")
    page.click("#job-form .quote button.primary")
    page.wait_for_url(re.compile(r"/jobs/sweeps/W-[^/]+/$"))
    return page.url.rstrip("/").rsplit("/", 1)[1]


def wait_for_state(page: Page, state: str, *, timeout_s: float = 60) -> None:
    """The badge beside the title, as the page's own polling brings it."""
    expect(page.locator("#job-live h1 + .badge")).to_have_text(state, timeout=timeout_s * 1000)


def artifacts(page: Page, code: str) -> dict[str, bytes]:
    """Downloaded by clicking each link of the job's artifacts."""
    page.goto(f"/jobs/{code}/artifacts/")
    found = {}
    for link in page.locator("main table th a").all():
        with page.expect_download() as download:
            link.click()
        found[link.inner_text()] = Path(download.value.path()).read_bytes()
    return found


def yen(text: str) -> int:
    """The first amount in it."""
    match = re.search(r"[¥￥]\s?([\d,]+)", text)
    assert match, text
    return int(match.group(1).replace(",", ""))
