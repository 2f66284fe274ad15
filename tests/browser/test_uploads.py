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


@pytest.mark.parametrize("when", ["1999-01-01T00:00:00Z", "2031-01-01T00:00:00Z"])
def test_a_browser_whose_clock_is_wrong_by_years_uploads_all_the_same(
    portal: Portal, page_for: Callable[..., Page], tmp_path: Path, when: str
) -> None:
    """Addresses are signed by the portal's clock, and the store asks its own."""
    file = tmp_path / f"{when[:4]}.bin"
    file.write_bytes(os.urandom(9_000_000))
    page = page_for()
    sign_in(page, portal.logins()["member"])
    page.clock.set_system_time(when)
    page.goto("/datasets/")
    said = page.evaluate("new Date().getUTCFullYear()")
    page.set_input_files("[data-files]", file)
    expect(page.locator("[data-rows] .meta")).to_contain_text("SHA-256 確認済み", timeout=60_000)
    assert said == int(when[:4])


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


def test_a_folder_of_many_files_is_one_line_and_is_sent_once(
    portal: Portal, page_for: Callable[..., Page], tmp_path: Path
) -> None:
    folder = tmp_path / "学習 用"
    for number in range(45):
        path = folder / f"部分 {number % 5}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"言葉 {number}\n")
    page, puts, said = page_for(), [], []
    page.on("request", lambda r: puts.append(r.url) if r.method == "PUT" else None)
    sign_in(page, portal.logins()["member"])
    page.goto("/datasets/")
    page.expose_function("heard", lambda text: said.append(text))
    page.evaluate("new MutationObserver(() => heard(live.textContent)).observe(live, {childList: true})")

    def send_it() -> str:
        page.set_input_files("[data-folder]", folder)
        total = page.locator("[data-rows] > :first-child .meta")
        expect(total).to_have_text("45件を確認しました。", timeout=200_000)
        return str(page.locator("[data-rows] > :first-child b").text_content())

    first, rows = send_it(), page.locator("[data-rows] > *").count()
    sent, puts[:] = len(puts), []
    page.reload()
    again = send_it()
    page.goto("/datasets/")
    page.click("text=学習 用")

    assert (first, again, sent, len(puts)) == ("45個のファイル", "45個のファイル", 45, 0)
    assert rows <= 21
    assert "45個のファイル: 45件を確認しました。" in said
    expect(page.locator("#files")).to_contain_text("45")
    expect(page.locator("#files")).to_contain_text("$PORTAL_DATA_DIR/学習_用/学習 用/部分 ")


def test_all_are_paused_and_go_on(portal: Portal, page_for: Callable[..., Page], tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(9_000_000))
    page, dialogs = page_for(), []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.dismiss()))
    sign_in(page, portal.logins()["member"])
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 5, "downloadThroughput": -1, "uploadThroughput": 3_000_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.goto("/datasets/")
    page.fill("#up-name", "paused")
    page.set_input_files("[data-files]", [tmp_path / f"{number}.bin" for number in range(3)])
    total = page.locator("[data-rows] > :first-child")

    total.locator("[data-act=pause]").click()
    expect(page.locator("[data-rows]")).to_contain_text("一時停止中")
    network.send("Network.emulateNetworkConditions", {**slow, "offline": True})
    total.locator("[data-act=resume]").click()
    expect(page.locator("[data-rows]")).to_contain_text("通信が切れています")
    page.close(run_before_unload=True)
    page.wait_for_timeout(300)
    network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})

    expect(total.locator(".meta")).to_have_text("3件を確認しました。", timeout=120_000)
    assert dialogs == ["beforeunload"]
