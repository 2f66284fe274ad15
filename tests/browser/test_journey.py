"""From sign-up to a downloaded result and its price, as the people of one organization live it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import acts
from tests.browser.conftest import Portal

pytestmark = pytest.mark.browser

OFFERINGS = {"dok-h100": "さくら", "demo-gb200": "KDDI", "soroban-cluster": "ハイレゾ"}
TRIAL_CREDIT = 10_000
WORDS = (
    "国産GPUで日本語の大規模言語モデルを学習する。モデルの学習には、きれいなデータが欠かせない。\n"
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind.\n"
    "データセンターは石狩、堺、香川にあります。GPU、GPU、そしてGPU！\n"
) * 30


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(WORDS, encoding="utf-8")
    return path


@pytest.mark.timeout(420)
def test_from_sign_up_to_the_same_result_of_three_clouds(
    portal: Portal, page_for: Callable[..., Page], words: Path
) -> None:
    page = page_for()

    # Sign up; the code is read in the demo's mailbox, in another tab.
    page.goto("/")
    page.locator("main").get_by_role("link", name="新規登録").first.click()
    acts.sign_up(page, "takahashi@minato.example", to=page.url)
    with page.context.expect_page() as mailbox:
        page.get_by_role("link", name="デモ用メールボックスを開く").click()
    acts.confirm(page, _code_in_mailbox(mailbox.value, "takahashi@minato.example"))
    acts.found_organization(
        page, family_name="高橋", given_name="美咲", organization="株式会社みなと解析", kind="startup"
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("ホーム")

    # Compare two offerings.
    page.goto("/catalog/")
    page.check("#cmp-dok-h100", force=True)
    expect(page.locator(".cmpbar .chip")).to_have_count(1)
    page.check("#cmp-demo-gb200", force=True)
    expect(page.locator("#cmp-t thead th")).to_have_count(2)
    assert sorted(re.findall(r"cmp=([\w-]+)", page.url)) == ["demo-gb200", "dok-h100"]
    expect(page.locator("#cmp-t td.best").first).to_be_visible()

    # Upload, and give the file to a job at each of the three.
    acts.upload(page, words, dataset="語彙コーパス")
    jobs = {}
    for offering in OFFERINGS:
        jobs[offering] = acts.submit(
            page, template="word-statistics", offering=offering, name=f"語数 {offering}", file="words.txt"
        )
        expect(page.locator("#job-live .prov").first).to_contain_text(OFFERINGS[offering])
        # This page is not loaded again: the log, the states and the results come to it.
        expect(page.locator("#log-lines")).to_contain_text("Saved counts.csv", timeout=60_000)
        acts.wait_for_state(page, "完了")
        expect(page.locator("#job-side")).to_contain_text("summary.json")

    # The same bytes from all three, and they are right.
    results = {offering: acts.artifacts(page, code) for offering, code in jobs.items()}
    assert results["dok-h100"] == results["demo-gb200"] == results["soroban-cluster"]
    assert sorted(results["dok-h100"]) == ["counts.csv", "summary.json"]
    counted = dict(csv.reader(io.StringIO(results["dok-h100"]["counts.csv"].decode())))
    assert (counted["gpu"], counted["the"], counted["doesn't"]) == ("120", "90", "30")
    assert json.loads(results["dok-h100"]["summary.json"])["files"][0]["bytes"] == words.stat().st_size

    # Money: the jobs add up to the month, and the month to the credit.
    costs = [_cost(page, code) for code in jobs.values()]
    page.goto("/usage/")
    month, credit = page.locator(".kpi").nth(0), page.locator(".kpi").nth(2)
    assert costs[0] > 0  # DOK charges a minute at least; a second of one GPU elsewhere is less than a yen
    assert acts.yen(month.inner_text()) == sum(costs)
    assert acts.yen(page.locator("tfoot").last.inner_text()) == sum(costs)
    assert acts.yen(credit.locator(".val").inner_text()) == TRIAL_CREDIT - sum(costs)
    assert acts.yen(credit.locator(".sub").inner_text()) == 0  # nothing is held any more

    # A colleague is invited by mail, joins, and sees the jobs.
    page.goto("/organization/members/invite/")
    page.fill("[name=email]", "kato@minato.example")
    page.check("[name=role][value=viewer]", force=True)
    page.click("main form.stack button.primary")
    link = portal.wait_for_mail("kato@minato.example", r"(/invitations/[\w-]+/)")
    colleague = page_for()
    colleague.goto(link)
    expect(colleague.get_by_role("heading", level=1)).to_have_text("株式会社みなと解析への参加")
    mails = len(portal.mails_to("kato@minato.example"))
    acts.sign_up(colleague, "kato@minato.example", to=_address(colleague, "main a.btn.primary"))
    acts.confirm(colleague, portal.wait_for_mail("kato@minato.example", acts.CODE, after=mails))
    colleague.wait_for_url(f"**{link}")
    colleague.fill("[name=family_name]", "加藤")
    colleague.click("main form.stack button.primary")
    colleague.goto("/jobs/")
    expect(colleague.locator("#jobs tbody tr")).to_have_count(len(jobs))

    # A stranger with an organization of their own finds nothing.
    stranger = page_for()
    acts.join_with_new_account(stranger, portal, "stranger@elsewhere.example")
    acts.found_organization(stranger, family_name="他", given_name="人", organization="別会社", kind="company")
    assert _statuses(stranger, _addresses_of(page, jobs["dok-h100"])) == {404}
    assert _statuses(colleague, _addresses_of(page, jobs["dok-h100"])) == {200}


def test_results_kept_as_a_dataset_are_the_input_of_the_next_job(
    portal: Portal, page_for: Callable[..., Page], words: Path
) -> None:
    page = page_for()
    acts.join_with_new_account(page, portal, "sato@next.example")
    acts.found_organization(page, family_name="佐藤", given_name="健", organization="次の会社", kind="startup")
    acts.upload(page, words, dataset="語彙")
    first = acts.submit(page, template="word-statistics", offering="soroban-cluster", name="一回目", file="words.txt")
    acts.wait_for_state(page, "完了")
    results = acts.artifacts(page, first)

    # Looked at, then kept.
    page.goto(f"/jobs/{first}/artifacts/")
    page.click("#artifact-files a[aria-label='counts.csv を表示']")
    expect(page.frame_locator("iframe.preview").locator("th").first).to_have_text("word")
    page.goto(f"/jobs/{first}/artifacts/")
    page.get_by_role("link", name="データセットとして保存", exact=True).click()
    page.fill("[name=dataset_name]", "一回目の結果")
    page.click("main button.primary")
    expect(page.locator("#files tbody tr .badge.ok")).to_have_count(2, timeout=60_000)  # without a reload

    # The next job reads them: all of the version that was made of them.
    second = acts.submit(
        page, template="word-statistics", offering="soroban-cluster", name="二回目", file="summary.json"
    )
    acts.wait_for_state(page, "完了")
    summary = json.loads(acts.artifacts(page, second)["summary.json"])
    assert [file["bytes"] for file in summary["files"]] == [
        len(results[name]) for name in ("counts.csv", "summary.json")
    ]


def test_the_same_in_english(portal: Portal, page_for: Callable[..., Page], words: Path) -> None:
    page = page_for(language="en")
    page.goto("/")
    page.locator("main").get_by_role("link", name="Sign up").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign up")
    acts.sign_up(page, "smith@harbour.example", to=page.url)
    mail = portal.wait_for_mail("smith@harbour.example", r"(To confirm it, type this code[\s\S]+)")
    acts.confirm(page, re.findall(acts.CODE, mail)[0])
    acts.found_organization(page, family_name="Smith", given_name="Ann", organization="Harbour Lab", kind="university")
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")

    page.goto("/catalog/?cmp=dok-h100&cmp=soroban-cluster")
    expect(page.locator("#cmp-h")).to_have_text("Comparison of 2")

    acts.upload(page, words, dataset="Corpus")
    codes = []
    for offering in OFFERINGS:
        codes.append(
            acts.submit(page, template="word-statistics", offering=offering, name="Word counts", file="words.txt")
        )
        expect(page.locator("#log-lines")).to_contain_text("Saved counts.csv", timeout=60_000)
        acts.wait_for_state(page, "Completed")
        expect(page.locator("#tl-h")).to_have_text("Progress")
    results = [acts.artifacts(page, code) for code in codes]
    assert results[0] == results[1] == results[2]
    assert sorted(results[0]) == ["counts.csv", "summary.json"]

    cost = sum(_cost(page, code) for code in codes)
    page.goto("/usage/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Usage and cost")
    assert acts.yen(page.locator(".kpi").nth(0).inner_text()) == cost > 0
    assert re.findall(r"[ぁ-んァ-ヶ一-龯]{2,}", page.inner_text("main")) == []


def test_the_same_without_javascript(portal: Portal, page_for: Callable[..., Page], words: Path) -> None:
    page = page_for(javascript=False)
    acts.join_with_new_account(page, portal, "nakamura@noscript.example")
    acts.found_organization(page, family_name="中村", given_name="蓮", organization="中村研究室", kind="university")

    page.goto("/catalog/")
    page.check("#cmp-dok-h100", force=True)
    page.check("#cmp-demo-gb200", force=True)
    page.get_by_role("button", name="比較", exact=True).click()
    expect(page.locator("#cmp-t thead th")).to_have_count(2)

    acts.upload_plainly(page, words, dataset="語彙コーパス")
    _reload_until(page, lambda: page.locator("#files th a", has_text="words.txt").count() == 1)
    results = []
    for offering in OFFERINGS:
        code = acts.submit(page, template="word-statistics", offering=offering, name="語数", file="words.txt")
        _reload_until(page, lambda: page.inner_text("#job-live h1 + .badge") == "完了")
        expect(page.locator("#log-lines")).to_contain_text("Saved counts.csv")
        results.append(acts.artifacts(page, code))
    assert results[0] == results[1] == results[2]
    assert sorted(results[0]) == ["counts.csv", "summary.json"]
    assert json.loads(results[0]["summary.json"])["files"][0]["bytes"] == words.stat().st_size


def _code_in_mailbox(mailbox: Page, address: str) -> str:
    row = mailbox.locator("main tbody tr", has_text=address)
    for _ in range(20):
        if row.count():
            break
        mailbox.wait_for_timeout(500)
        mailbox.reload()
    row.first.locator("a").click()
    match = re.search(r"^\s*([A-Z0-9-]{4,12})\s*$", mailbox.inner_text(".mail-text"), re.MULTILINE)
    assert match
    return match.group(1)


def _cost(page: Page, code: str) -> int:
    page.goto(f"/jobs/{code}/")
    return acts.yen(page.inner_text("#job-side .price"))


def _address(page: Page, link: str) -> str:
    return page.get_attribute(link, "href") or ""


def _addresses_of(page: Page, code: str) -> list[str]:
    """The job's tabs, an artifact of it, its dataset and the file in it: as their owner's pages link to them."""
    page.goto(f"/jobs/{code}/artifacts/")
    artifact = _address(page, "main table th a")
    page.goto("/datasets/")
    dataset = _address(page, "#datasets th a")
    page.goto(dataset)
    tabs = [f"/jobs/{code}/{tab}" for tab in ("", "artifacts/", "events/", "config/", "lines/", "log/")]
    return [*tabs, artifact, dataset, _address(page, "#files th a")]


def _statuses(page: Page, addresses: list[str]) -> set[int]:
    return {page.context.request.get(address).status for address in addresses}


def _reload_until(page: Page, is_there: Callable[[], bool], *, seconds: int = 60) -> None:
    for _ in range(seconds):
        if is_there():
            return
        page.wait_for_timeout(1000)
        page.reload()
    raise AssertionError(page.inner_text("main"))
