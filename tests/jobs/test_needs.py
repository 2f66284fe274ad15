"""「おまかせ」 in the job form: needs instead of a plan, what would be chosen, and what stands in the way."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.billing.models import SpendRequest
from portal.catalog.models import Offering, Price
from portal.core.periods import JST
from portal.jobs.models import Draft, Job, JobEvent, Placement
from portal.jobs.needs import counts_of, needs_of
from portal.jobs.offers import offers_at
from portal.jobs.placement.spelling import read_input
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory, ProviderFactory
from tests.jobs.test_views import HTMX, KEY, container_plan, credit, page_of

__all__ = ["container_plan", "credit"]


@pytest.fixture
def big_plan(db: None) -> Offering:
    """1 to 4 GPUs of 96 GB, 1,500 yen an hour each; no containers."""
    offering = OfferingFactory(
        slug="big", provider=ProviderFactory(slug="highreso"), adapter="slurm_ssh", gpu_model="RTX6000",
        gpu_memory_gb=96, gpus_max=4, name_en="Big",
    )  # fmt: skip
    PriceFactory(offering=offering, unit="hour", amount=1500, per_gpu=True, minimum_s=0)
    ProviderAccountFactory(provider=offering.provider, kind="slurm_ssh")
    return offering


@pytest.fixture
def arm_plan(db: None) -> Offering:
    offering = OfferingFactory(
        slug="arm", provider=ProviderFactory(slug="kddi"), adapter="slurm_rest", architecture="arm64",
        gpu_model="GB200", gpu_memory_gb=186, gpus_min=4, gpus_max=72, gpus_step=4, gpus_per_node=4, name_en="Arm",
    )  # fmt: skip
    PriceFactory(offering=offering, unit="hour", amount=1000, per_gpu=True, minimum_s=0)
    ProviderAccountFactory(provider=offering.provider, kind="slurm_rest")
    return offering


@pytest.fixture
def plans(container_plan: Offering, big_plan: Offering, arm_plan: Offering) -> None:
    """dok-h100: one H100 of 80 GB at 1,008 yen an hour."""


def fields(project, /, **changes: str) -> dict[str, str]:
    return {
        "key": KEY, "project": project.code, "name": "おまかせの学習", "script": "print('こんにちは')\n",
        "script_name": "main.py", "image": "python:3.11-slim", "offering": "auto", "gpus": "1", "time_amount": "1",
        "time_unit": "hours", "cost_cap": "2000", "architecture": "amd64", "strategy": "cheapest", "nodes": "1",
        **changes,
    }  # fmt: skip


def said_of(client, project, **changes: str) -> list[str]:
    """The sentences at the fields of a form that came back."""
    answer = client.post("/jobs/new/", fields(project, **changes))
    assert answer.status_code == 422
    found = re.findall(r'<div class="errmsg" id="\w+_error">(.*?)</div></div>', page_of(answer))
    return [unescape(sentence) for one in found for sentence in re.findall(r"<div>([^<]+)(?:$|</div>)", one)]


def test_a_job_that_names_its_needs_is_placed_and_says_why(client_of, member, project, plans, credit) -> None:
    client = client_of(member, "en")
    answer = client.post("/jobs/new/", fields(project))
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/{job.code}/")
    assert (job.offering.slug, [one["slug"] for one in job.alternatives], job.image) == (
        "dok-h100", ["big"], "python:3.11-slim",
    )  # fmt: skip
    page = page_of(client.get(f"/jobs/{job.code}/"))
    assert "Why here" in page and "Rule 2026-12-01.2" in page
    assert "Runs programs built for Arm (arm64)" in page and "Not with 1 GPU; with 4 GPUs it is" in page
    events = page_of(client.get(f"/jobs/{job.code}/events/"))
    assert "the first of 2 plans that fit, for at most ¥1,008; the amount up to the cap is set aside" in events


def test_a_plan_chosen_by_hand_stores_no_placement(client_of, member, project, plans, credit) -> None:
    client = client_of(member, "en")
    client.post("/jobs/new/", fields(project, offering="dok-h100"))
    job = Job.objects.get()
    assert (Placement.objects.count(), job.strategy) == (0, "")
    assert "Why here" not in page_of(client.get(f"/jobs/{job.code}/"))


def test_any_architecture_must_be_said(client_of, member, project, plans, credit) -> None:
    asked = {"gpus": "4", "cost_cap": "3000", "gpu_memory": "96", "time_amount": "30", "time_unit": "minutes"}
    client_of(member).post("/jobs/new/", fields(project, **asked))
    client_of(member).post("/jobs/new/", fields(project, **asked, architecture="any", key=KEY[:-1] + "x"))
    assert [(job.offering.slug, [one["slug"] for one in job.alternatives]) for job in Job.objects.order_by("pk")] == [
        ("big", []), ("arm", ["big"]),
    ]  # fmt: skip


IMPOSSIBLE = [
    (
        {"gpus": "8", "gpu_memory": "96"},
        ["No plan has 8 GPUs with 96 GB; 4 GPUs with 96 GB exist (Big)."],
    ),
    (
        {"gpu_model": "H100", "gpu_memory": "96"},
        [
            "No plan meets all needs. Nearest is Big, against which stands: The GPU is RTX6000.",
            "No plan has 1 GPU (H100, at least 96 GB); up to 80 GB each exist (dok).",
        ],
    ),
    (
        {"gpu_model": "H100", "cost_cap": "1000"},
        ["1 GPU (H100) can cost ¥1,008 until the time limit (dok). Raise the cap to it, or shorten the time."],
    ),
    (
        {"gpus": "8", "gpu_model": "GB200", "architecture": "any", "cost_cap": "9000"},
        ["No plan meets all needs. Nearest is Arm, against which stands: Needs 2 machines for so many GPUs."],
    ),
    (
        {"gpus": "4", "gpu_model": "GB200", "cost_cap": "9000"},
        [
            "No plan meets all needs. Nearest is Big, against which stands: The GPU is RTX6000.",
            "No plan meets all needs. Nearest is Arm, against which stands: Runs programs built for Arm (arm64).",
        ],
    ),
    ({"deadline": "2020-01-01T00:00"}, ["This moment is over. Enter one that is still to come, or nothing."]),
    ({"deadline": "tomorrow"}, ["Enter day and time as in 2026-12-24T18:00, or nothing."]),
    ({"gpu_memory": "much"}, ["Enter the memory as a whole number of GB from 1 to 10,000, or nothing."]),
    ({"nodes": "0"}, ["Enter the number of machines as a whole number from 1 to 1,000."]),
    ({"architecture": "sparc"}, ["Choose an architecture from the list."]),
    ({"strategy": "prettiest"}, ["Choose what comes first from the list."]),
]


@pytest.mark.parametrize(("changes", "sentences"), IMPOSSIBLE)
def test_what_is_impossible_says_why_and_what_comes_nearest(
    client_of, member, project, plans, credit, changes: dict[str, str], sentences: list[str]
) -> None:
    Offering.objects.filter(slug="dok-h100").update(name_en="dok")
    assert said_of(client_of(member, "en"), project, **changes) == sentences
    assert Job.objects.count() == 0


def test_a_deadline_that_no_plan_can_keep_says_by_how_much(client_of, member, project, plans, credit) -> None:
    soon = (timezone.now().astimezone(JST) + timedelta(minutes=31)).strftime("%Y-%m-%dT%H:%M")
    (sentence,) = said_of(client_of(member, "en"), project, deadline=soon)
    assert re.fullmatch(
        r"The job would end (29|30) min( \d+ s)? too late even on the soonest plan \(.+\)\."
        r" Shorten the time limit, or move the deadline\.",
        sentence,
    ), sentence


def test_the_table_follows_the_needs(client_of, member, project, plans, credit) -> None:
    client = client_of(member, "en")
    asked = fields(project, cost_cap="1200", suggested="")
    page = page_of(client.get("/jobs/new/quote/", asked, headers=HTMX))
    rows = re.findall(r"<tr><td>([^<]+)</td>", page)
    assert rows == ["1", "–", "–"]
    assert "Until the time limit it can cost ¥1,500" in page


def test_without_script_a_button_shows_the_table(client_of, member, project, plans, credit) -> None:
    page = page_of(client_of(member, "en").post("/jobs/new/", fields(project, refresh="1")))
    assert re.findall(r"<tr><td>([^<]+)</td>", page) == ["1", "2", "–"]
    assert 'value="auto" checked' in page


def test_the_cap_is_suggested_by_the_best_plan_and_the_next(client_of, member, project, plans, credit) -> None:
    page = page_of(client_of(member, "en").get("/jobs/new/?offering=auto"))
    assert 'name="suggested" value="1500"' in page and 'name="cost_cap" value="1500"' in page


def test_draft_and_copy_know_the_needs(client_of, member, project, plans, credit) -> None:
    client = client_of(member, "en")
    needs = {"gpu_memory": "40", "nodes": "2", "architecture": "any", "provider": "sakura", "strategy": "fastest"}
    asked = fields(project, **needs, deadline="2036-12-24T18:00")
    client.post("/jobs/new/draft/", asked)
    kept = Draft.objects.get().fields
    assert {name: kept[name] for name in (*needs, "deadline", "offering")} == {
        **needs, "deadline": "2036-12-24T18:00", "offering": "auto",
    }  # fmt: skip
    client.post("/jobs/new/", asked)
    page = page_of(client.get(f"/jobs/new/?copy={Job.objects.get().code}"))
    for expected in (
        'value="auto" checked', 'name="gpu_memory" value="40"', 'name="nodes" value="2"',
        '<option value="any" selected>',
        '<option value="sakura" selected>', '<option value="fastest" selected>', 'value="2036-12-24T18:00"',
    ):  # fmt: skip
        assert expected in page, expected


def test_an_approval_holds_for_the_same_needs(client_of, member, manager, project, plans) -> None:
    """Without any credit the form asks; approved, the same needs are let in, whatever would be chosen now."""
    client = client_of(member, "en")
    client.post("/jobs/new/", fields(project, ask="1", ask_reason="It is for the paper."))
    asked = SpendRequest.objects.get()
    assert (asked.form["offering"], asked.form["strategy"], asked.amount) == ("auto", "cheapest", 1500)


def test_a_price_that_nobody_was_shown_is_not_agreed_to(client_of, member, project, plans, credit) -> None:
    shown = Price.objects.get(offering__slug="dok-h100").pk
    assert said_of(client_of(member, "en"), project, seen_prices=str(shown)) == [
        "Prices have changed since you opened the page. Check the new quote and send it again."
    ]


def test_what_cannot_be_read_is_no_need() -> None:
    nothing = dict.fromkeys(["gpu_memory", "nodes", "deadline"]) | {
        "gpu_model": "",
        "provider": "",
        "architecture": "",
        "strategy": "",
    }
    assert needs_of({}) == nothing
    wrong = {"gpu_model": "x" * 99, "gpu_memory": "-1", "architecture": "sparc", "deadline": "0000"}
    assert needs_of(wrong) == {**nothing, "gpu_model": None, "architecture": None}


def test_any_number_that_some_plan_has_can_be_asked_for(project, plans) -> None:
    offers = offers_at(timezone.now(), organization=project.organization)
    assert counts_of(offers) == [1, 2, 3, 4, *range(8, 73, 4)]


def test_the_data_is_part_of_the_decision(client_of, member, project, plans, credit) -> None:
    from portal.datasets.models import Copy, StorageSite
    from tests.factories import DataFileFactory, DatasetFactory, DatasetVersionFactory

    dataset = DatasetFactory(project=project, latest_number=1)
    file = DataFileFactory(dataset=dataset, added_in=1)
    DatasetVersionFactory(dataset=dataset, number=1, file_count=1)
    site = StorageSite.objects.create(
        slug="kagawa", provider="highreso", region="jp", endpoint="https://x", public_endpoint="https://x", bucket="b"
    )
    Copy.objects.create(
        file=file, dataset=dataset, site=site, storage_key=file.storage_key, size_bytes=5, state="verified",
        arrival=1, verified_at=timezone.now(),
    )  # fmt: skip
    client_of(member).post("/jobs/new/", fields(project, strategy="closest", inputs=f"{dataset.code}@1"))
    job = Job.objects.get()
    assert job.offering.slug == "big"
    spec, *_rest = read_input(job.placements.get().input)
    assert (spec.data_bytes, [(held.provider, held.size_bytes) for held in spec.data]) == (5, [("highreso", 5)])


def test_the_job_page_of_a_plan_chosen_by_hand_costs_nothing_more(client_of, member, project, plans, credit) -> None:
    client = client_of(member)
    client.post("/jobs/new/", fields(project, offering="dok-h100"))
    client.post("/jobs/new/", fields(project, key=KEY[:-1] + "x", gpu_model="H100"))
    counts = []
    for job in Job.objects.order_by("pk"):
        client.get(f"/jobs/{job.code}/")
        with CaptureQueriesContext(connection) as statements:
            client.get(f"/jobs/{job.code}/")
        counts.append(len(statements))
    assert counts[1] - counts[0] == 2
    assert JobEvent.objects.filter(reason="submitted").count() == 2
