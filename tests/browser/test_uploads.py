"""Uploads in a real Chromium against the real store: cut in the middle, taken up again, and without script."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Portal, sign_in

pytestmark = pytest.mark.browser


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "言葉.txt"
    path.write_text("言葉 words\n" * 1000)
    return path


def test_a_reload_in_the_middle_sends_only_what_is_missing(
    portal: Portal, page_for: Callable[..., Page], tmp_path: Path
) -> None:
    data = os.urandom(40_000_000)
    (tmp_path / "大きなデータ.bin").write_bytes(data)
    page, sent = page_for(), []
    page.on("request", lambda r: sent.extend(re.findall(r"partNumber=(\d+)", r.url)) if r.method == "PUT" else None)
    page.on("dialog", lambda dialog: dialog.accept())
    sign_in(page, portal.logins()["member"])
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 5, "downloadThroughput": -1, "uploadThroughput": 6_000_000}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)
    page.goto("/datasets/")

    page.set_input_files("[data-files]", tmp_path / "大きなデータ.bin")
    # At 88% the first four of five parts have arrived: four go at a time.
    while float(page.get_attribute("[data-rows] .v", "width") or 0) < 88:
        page.wait_for_timeout(50)
    first, sent[:] = sorted(sent), []
    page.reload()
    held = page.locator("[data-meta]")
    expect(held).to_contain_text("80%")
    with page.expect_file_chooser() as chooser:
        page.click("[data-resume]")
    chooser.value.set_files(tmp_path / "大きなデータ.bin")
    expect(page.locator("[data-rows] .meta")).to_contain_text("SHA-256 確認済み", timeout=60_000)
    page.click("[data-act=open]")

    assert (first, sent) == (["1", "2", "3", "4", "5"], ["5"])
    expect(page.locator("#files")).to_contain_text(hashlib.sha256(data).hexdigest())


def test_upload_and_download_without_script(portal: Portal, page_for: Callable[..., Page], words: Path) -> None:
    page = page_for(javascript=False)
    sign_in(page, portal.logins()["member"])
    page.goto("/datasets/")
    page.click("main a[href^='/datasets/form/']")
    page.fill("[name=dataset_name]", "Without script")
    page.fill("[name=name]", words.name)
    page.click("main .btn.primary")
    page.set_input_files("[name=file]", words)
    page.click("main .btn.primary")
    page.wait_for_url(re.compile(r"/datasets/d-\w+/$"))

    for _try in range(60):
        if page.locator(".badge.ok").count():
            break
        page.wait_for_timeout(500)
        page.reload()
    with page.expect_download() as download:
        page.click(f"text={words.name}")

    assert (download.value.suggested_filename, Path(download.value.path()).read_bytes()) == (
        words.name,
        words.read_bytes(),
    )
