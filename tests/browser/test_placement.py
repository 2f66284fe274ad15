"""A job that names its needs: chosen, given to the next plan when the first has no free GPU, and explained."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser import acts
from tests.browser.conftest import Portal, sign_in

pytestmark = pytest.mark.browser

NO_SUCH_NODES = {"errors": [{"error_code": 2014, "error": "Requested node configuration is not available"}]}


def no_free_gpu_at_kddi(portal: Portal) -> None:
    """Its emulator answers the next submit as slurmrestd does where the nodes cannot be had."""
    access = json.loads((portal.folder / "emulators" / "slurm_rest" / "access.json").read_text())
    fault = {"on": "submit", "status": 500, "phase": "before", "times": 1, "body": json.dumps(NO_SUCH_NODES)}
    token = {"Authorization": f"Bearer {access['control']['token']}"}
    assert httpx.post(access["control"]["url"], json=fault, headers=token).status_code == 200


def ask_for_four_gpus(page: Page) -> None:
    page.goto("/jobs/new/?offering=auto")
    page.fill("[name=name]", "おまかせの学習")
    page.fill("[name=script]", "print('hello from somewhere')")
    page.fill("[name=time_amount]", "5")
    page.select_option("[name=time_unit]", "minutes")
    page.select_option("[name=gpus]", "4")
    page.select_option("[name=architecture]", "any")
    page.fill("[name=cost_cap]", "1000")


@pytest.mark.timeout(240)
def test_a_job_goes_on_where_a_gpu_is_free_and_says_why(portal: Portal, page_for: Callable[..., Page]) -> None:
    page = page_for()
    sign_in(page, portal.logins()["owner"])
    ask_for_four_gpus(page)
    ranks = page.locator("#needs-box tbody tr")
    expect(ranks.nth(0)).to_contain_text("GB200")  # 360 yen for five minutes
    expect(ranks.nth(1)).to_contain_text("GPUSOROBAN")  # 400 yen
    expect(page.locator("#needs-box")).to_contain_text("4枚では使えません（8枚なら可）")

    no_free_gpu_at_kddi(portal)
    page.click("#job-form .quote button.primary")
    page.wait_for_url("**/jobs/J-*/")
    code = page.url.rstrip("/").rsplit("/", 1)[1]
    acts.wait_for_state(page, "完了")
    expect(page.locator("#job-live .prov").first).to_contain_text("ハイレゾ")
    expect(page.locator("#log-lines")).to_contain_text("hello from somewhere")

    # Each attempt with its price and its reason, on the page and among the events.
    page.reload()
    page.click("#why-here summary")
    tables = page.locator("#why-here table")
    expect(tables).to_have_count(2)
    expect(tables.nth(0).locator("tbody tr").nth(0)).to_contain_text("GPUSOROBAN")
    expect(tables.nth(0)).to_contain_text("すでに試しました")
    expect(tables.nth(1).locator("tbody tr").nth(0)).to_contain_text("¥360")
    page.goto(f"/jobs/{code}/events/")
    expect(page.locator("main")).to_contain_text("1位のGB200")
    expect(page.locator("main")).to_contain_text("最大¥400")

    # The stored decisions come out the same again.
    assert portal.manage("explain_placement", code).count(": equal") == 2
    page.goto("/placement/")
    expect(page.get_by_role("heading", level=1)).to_have_text("ジョブの配置先の決め方")


@pytest.mark.timeout(120)
def test_without_script_the_table_comes_with_the_quote(portal: Portal, page_for: Callable[..., Page]) -> None:
    page = page_for(javascript=False)
    sign_in(page, portal.logins()["owner"])
    page.goto("/jobs/new/")
    page.fill("[name=name]", "おまかせの学習")
    page.check("input[name=offering][value=auto]")
    page.click("button[name=refresh]")
    page.fill("[name=gpu_memory]", "80")
    page.click("button[name=refresh]")
    expect(page.locator("#needs-box tbody tr").nth(0)).to_contain_text("高火力 DOK H100")
    expect(page.locator("#needs-box")).to_contain_text("GPUメモリーは1枚あたり32 GB")
