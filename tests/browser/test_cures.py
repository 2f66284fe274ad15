"""A job that failed: why, the line that shows it, and a click that leads to one that works."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import acts
from tests.browser.conftest import Portal, sign_in

pytestmark = pytest.mark.browser

# The emulators have no GPUs to lose each other: until a moment it says what PyTorch says then, afterwards it works.
TRAINING = """import os, sys, time
if time.time() < float(os.environ["WELL_FROM"]):
    sys.exit("[rank0]:[E ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL("
             "SeqNum=42, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600029 milliseconds before timing out.")
print("trained")
"""


@pytest.mark.timeout(240)
def test_a_job_whose_gpus_lost_each_other_is_cured_by_a_click(portal: Portal, page_for: Callable[..., Page]) -> None:
    page = page_for()
    sign_in(page, portal.logins()["owner"])
    well_from = time.time() + 30
    page.goto("/jobs/new/?template=empty&offering=soroban-cluster")
    page.fill("[name=name]", "分散学習")
    page.fill("[name=script]", TRAINING)
    page.fill("[name=environment]", f"WELL_FROM={well_from:.0f}")
    page.fill("[name=time_amount]", "5")
    page.select_option("[name=time_unit]", "minutes")
    page.click("#job-form .quote button.primary")
    page.wait_for_url("**/jobs/J-*/")
    acts.wait_for_state(page, "失敗")
    expect(page.locator("#job-live .notice.err")).to_contain_text("collective operation timeout")
    cure = page.locator("#job-cures li", has_text="そのまま再実行する").first
    most = acts.yen(cure.inner_text())
    page.wait_for_timeout(max(0.0, well_from - time.time()) * 1000)

    cure.locator("a").click()
    page.wait_for_url("**/jobs/new/?copy=*")
    assert acts.yen(page.locator("#quote .price").inner_text()) == most
    page.click("#job-form .quote button.primary")
    page.wait_for_url(re.compile(r"/jobs/J-[^/]+/$"))
    acts.wait_for_state(page, "完了")
    expect(page.locator("#log-lines")).to_contain_text("trained")
