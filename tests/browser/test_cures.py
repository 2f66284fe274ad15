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

# The emulators have no GPU to run out of memory of: until a moment it says what PyTorch says, afterwards it fits.
TRAINING = """import os, sys, time
if time.time() < float(os.environ["FITS_FROM"]):
    sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of"
             " 31.74 GiB of which 12.19 GiB is free.")
print("trained")
"""


@pytest.mark.timeout(240)
def test_a_job_without_enough_gpu_memory_is_cured_by_a_click(portal: Portal, page_for: Callable[..., Page]) -> None:
    page = page_for()
    sign_in(page, portal.logins()["owner"])
    fits_from = time.time() + 45
    page.goto("/jobs/new/?template=empty&offering=dok-v100")
    page.fill("[name=name]", "大きすぎるバッチ")
    page.fill("[name=script]", TRAINING)
    page.fill("[name=environment]", f"FITS_FROM={fits_from:.0f}")
    page.fill("[name=time_amount]", "5")
    page.select_option("[name=time_unit]", "minutes")
    page.click("#job-form .quote button.primary")
    page.wait_for_url("**/jobs/J-*/")
    acts.wait_for_state(page, "失敗")
    expect(page.locator("#job-live .notice.err")).to_contain_text("CUDA out of memory")
    cure = page.locator("#job-cures li", has_text="高火力 DOK H100").first
    expect(cure).to_contain_text("80 GB")
    most = acts.yen(cure.inner_text())
    page.wait_for_timeout(max(0.0, fits_from - time.time()) * 1000)

    cure.locator("a").click()
    page.wait_for_url("**/jobs/new/?copy=*")
    assert acts.yen(page.locator("#quote .price").inner_text()) == most
    page.click("#job-form .quote button.primary")
    page.wait_for_url(re.compile(r"/jobs/J-[^/]+/$"))
    acts.wait_for_state(page, "完了")
    expect(page.locator("#log-lines")).to_contain_text("trained")
    expect(page.locator("#job-live")).to_contain_text("高火力 DOK H100")
