"""The pages of jobs through Django's test client: what a person sees, may do, and is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from portal.accounts.roles import Role
from portal.billing.approvals import approve
from portal.billing.budgets import Terms, create, set_limit
from portal.billing.credits import grant_trial
from portal.billing.holds import hold
from portal.billing.models import BudgetAction, BudgetPeriod, Hold, SpendRequest
from portal.catalog.models import Price, ProviderAccount
from portal.datasets.models import Copy, Dataset, StorageSite
from portal.jobs.models import Attempt, Draft, Job, JobEvent, JobInput, SubmitKey
from portal.jobs.request import SCRIPT_MAX_BYTES
from portal.jobs.starters import STARTERS, starter
from portal.jobs.states import FailureClass, JobState
from portal.jobs.views.listing import _newest
from tests.factories import (
    ArtifactFactory,
    AttemptFactory,
    DataFileFactory,
    DatasetFactory,
    DatasetVersionFactory,
    JobFactory,
    LogChunkFactory,
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    ProviderFactory,
    RegistryLoginFactory,
    UserFactory,
)
from tests.factories.billing import give_credit

KEY = "k" * 32
HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def container_plan(db):
    """A Sakura-like plan: one GPU, containers."""
    offering = OfferingFactory(slug="dok-h100", containers=True)
    PriceFactory(offering=offering)
    ProviderAccountFactory(provider=offering.provider)
    return offering


@pytest.fixture
def cluster_plan(db):
    """A cluster: 1 to 4 GPUs, arm64, no containers."""
    offering = OfferingFactory(
        slug="cluster", provider=ProviderFactory(slug="kddi"), adapter="slurm_rest", architecture="arm64",
        gpu_model="GB200", gpus_max=4, confirmed=False,
    )  # fmt: skip
    PriceFactory(offering=offering, unit="hour", amount=1000, per_gpu=True, minimum_s=0)
    ProviderAccountFactory(provider=offering.provider, kind="slurm_rest")
    return offering


@pytest.fixture
def credit(organization):
    grant_trial(organization, founder=UserFactory())


def fields(project, plan, /, **changes):
    return {
        "key": KEY,
        "project": project.code,
        "name": "はじめての学習",
        "script": "print('こんにちは')\n",
        "script_name": "main.py",
        "image": "python:3.11-slim" if plan.containers else "",
        "offering": plan.slug,
        "gpus": "1",
        "time_amount": "30",
        "time_unit": "minutes",
        "cost_cap": "500",
        **changes,
    }


def page_of(response):
    return response.content.decode()


def test_each_plan_says_whether_the_chosen_data_is_there(client_of, member, project, container_plan, cluster_plan):
    dataset = DatasetFactory(project=project, latest_number=1)
    file = DataFileFactory(dataset=dataset, added_in=1)
    DatasetVersionFactory(dataset=dataset, number=1, file_count=1)
    site = StorageSite.objects.create(
        slug="ishikari", provider=container_plan.provider.slug, name_ja="石狩", name_en="Ishikari", region="jp",
        endpoint="https://x", public_endpoint="https://x", bucket="b",
    )  # fmt: skip
    Copy.objects.create(
        file=file, dataset=dataset, site=site, storage_key=file.storage_key, size_bytes=5, state="verified",
        arrival=1, verified_at=timezone.now(),
    )  # fmt: skip
    client = client_of(member, "en")

    badge = r'<span class="badge[^>]*>(?:<svg.*?</svg>)?([^<]*)</span>'

    def said(url, **query):
        page = page_of(client.get(url, query, headers=HTMX if "quote" in url else {}))
        return dict(re.findall(rf'id="data-([^"]+)"[^>]*>(?:{badge})?</span>', page))

    near, far = str(container_plan.pk), str(cluster_plan.pk)
    here = {near: "Data here", far: "Data at Ishikari"}
    assert said("/jobs/new/", input=dataset.code, version=f"{dataset.code}@1") == here
    assert said("/jobs/new/") == {near: "", far: ""}
    chosen = {"offering": "cluster", "project": project.code, "files_for": project.code, "inputs": dataset.code}
    assert said("/jobs/new/quote/", **chosen, versions=f"{dataset.code}@1") == here


def test_at_one_price_the_plan_where_the_data_is_comes_first_and_is_chosen(client_of, member, project):
    plans = [OfferingFactory(slug=slug, provider=ProviderFactory(slug=slug)) for slug in ("alpha", "beta")]
    for plan in plans:
        PriceFactory(offering=plan)
        ProviderAccountFactory(provider=plan.provider)
    dataset = DatasetFactory(project=project, latest_number=1)
    file = DataFileFactory(dataset=dataset, added_in=1)
    DatasetVersionFactory(dataset=dataset, number=1, file_count=1)
    site = StorageSite.objects.create(
        slug="b", provider="beta", region="jp", endpoint="https://x", public_endpoint="https://x", bucket="b"
    )
    Copy.objects.create(
        file=file, dataset=dataset, site=site, storage_key=file.storage_key, size_bytes=5, state="verified",
        arrival=1, verified_at=timezone.now(),
    )  # fmt: skip

    def plans_on(url):
        page = page_of(client_of(member).get(url))
        return re.findall(r'name="offering" value="(?!auto)([^"]+)"( checked)?', page)

    assert plans_on("/jobs/new/") == [("alpha", " checked"), ("beta", "")]
    assert plans_on(f"/jobs/new/?input={dataset.code}") == [("beta", " checked"), ("alpha", "")]

    def swapped(**query):
        chosen = {"offering": "alpha", "project": project.code, "files_for": project.code, **query}
        page = page_of(client_of(member).get("/jobs/new/quote/", chosen, headers=HTMX))
        return re.findall(r'name="offering" value="(?!auto)([^"]+)"( checked)?', page), re.findall(
            r'name="near" value="(.*?)"', page
        )

    chosen = {"inputs": dataset.code, "versions": f"{dataset.code}@1"}
    assert swapped(near="", **chosen) == ([("beta", ""), ("alpha", " checked")], ["beta"])  # what was chosen stays so
    assert swapped(near="beta", **chosen) == ([], [])
    assert swapped(near="beta") == ([("alpha", " checked"), ("beta", "")], [""])


# --- the form ---------------------------------------------------------------------------------------------------------


def test_the_form_shows_plans_with_price_availability_and_warnings(
    client_of, member, project, container_plan, cluster_plan
):
    page = page_of(client_of(member).get("/jobs/new/"))
    assert re.findall(r'name="offering" value="([^"]+)"', page) == ["auto", "cluster", "dok-h100"]  # cheapest GPU first
    assert "¥1,000" in page and "¥1,008" in page
    assert page.count("arm64") >= 2
    assert all(f"?template={s.slug}" in page for s in STARTERS)


def test_a_starter_that_costs_less_than_a_yen_is_not_said_to_cost_none(client_of, member, project, cluster_plan):
    page = page_of(client_of(member).get("/jobs/new/"))
    costs = re.findall(r'template=(first-script|countdown)".*?<span class="sub">([^<]+)</span>', page)
    assert costs == [
        ("first-script", "約3秒、1円未満（税込）"),
        ("countdown", "約10分、¥166ほどから（税込）"),
    ]


def test_a_starter_fills_the_form(client_of, member, project, container_plan):
    page = page_of(client_of(member, "en").get("/jobs/new/?template=word-statistics"))
    assert 'value="Word statistics"' in page
    assert "Counts words and characters of every text file" in page
    assert 'value="word_statistics.py"' in page


def test_submitting_creates_the_job_and_opens_its_page(client_of, member, project, container_plan, credit):
    response = client_of(member).post("/jobs/new/", fields(project, container_plan, environment="EPOCHS=3\r\nMODE=a=b"))
    job = Job.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/jobs/{job.code}/")
    assert (job.name, job.script, job.command, job.image, job.environment, job.time_limit_s, job.cost_cap) == (
        "はじめての学習",
        "print('こんにちは')\n",
        "python3 -u main.py",
        "python:3.11-slim",
        {"EPOCHS": "3", "MODE": "a=b"},
        1800,
        500,
    )


def test_the_same_form_sent_twice_gives_one_job(client_of, member, project, container_plan, credit):
    client = client_of(member)
    answers = [client.post("/jobs/new/", fields(project, container_plan))["Location"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "Enter a job name."),
        ({"name": "x" * 51}, "A job name can have up to 50 characters. Shorten it."),
        ({"script": "", "command": ""}, "Enter a script or a command."),
        ({"template": "gone-starter"}, "The starter you came from is not there any more. Begin without one."),
        ({"script": "print(1)\0"}, "Script contains a NUL character (\\0)."),
        ({"script": "x" * (SCRIPT_MAX_BYTES + 1)}, "The script is larger than 1 MiB."),
        ({"script_name": "../evil.py"}, "A script file name has up to 60 letters"),
        ({"command": "x" * 4001}, "The command is longer than 4,000 bytes."),
        ({"image": "python:3.11; rm -rf /"}, "Enter a container image as name:tag"),
        ({"image": "$(id)"}, "Enter a container image as name:tag"),
        ({"image": ""}, "runs containers. Enter a container image."),
        ({"offering": "no-such-plan"}, "This plan cannot be used for jobs now."),
        ({"offering": ""}, "Choose a GPU plan."),
        ({"gpus": "8"}, "has 1 GPU."),
        ({"gpus": "one"}, "Enter the number of GPUs as a whole number. Koukaryoku DOK H100"),
        ({"gpus": "0"}, "Enter the number of GPUs as a whole number. Koukaryoku DOK H100"),
        ({"image": "a" * 301}, "The name of a container image can have up to 300 characters. Shorten it."),
        ({"time_amount": "21", "time_unit": "days"}, "The time limit on this plan is from 1 min to 20 d."),
        ({"time_unit": "years"}, "Choose minutes, hours or days."),
        ({"cost_cap": "¥1"}, "The cap on this plan must be at least ¥17, the cost of 1 min. Raise it."),
        ({"cost_cap": "-5"}, "Enter the cost cap as a whole number of yen"),
        ({"cost_cap": "1e9999"}, "Enter the cost cap as a whole number of yen"),
        ({"environment": "1ABC=x"}, "Line 1 is not NAME=value."),
        (
            {"environment": "A=1\nPORTAL_JOB=x"},
            "Line 2: names that begin with PORTAL_, SAKURA_ or SLURM_ are reserved.",
        ),
        ({"environment": "A=1\nA=2"}, "Line 2: A is set twice."),
        ({"environment": "A=1", "secrets": "A=2"}, "A is both a variable and a secret."),
        ({"secrets": "TOKEN="}, "Enter the value of the secret TOKEN."),
        ({"environment": "\n".join(f"V{i}=1" for i in range(201))}, "Up to 200 variables and secrets together"),
        ({"environment": "A=" + "x" * 65536}, "together may be up to 64 KiB."),
        ({"inputs": ["f-gone"]}, "A chosen dataset or file is no longer available."),
        ({"project": "p-nowhere"}, "The project you chose is closed or not open to you."),
        ({"key": ""}, "This form is out of date."),
    ],
)
def test_bad_input_is_told_in_a_sentence_and_stores_nothing(
    client_of, member, project, container_plan, credit, changes, sentence
):
    response = client_of(member, "en").post("/jobs/new/", fields(project, container_plan, **changes))
    summary = re.search(r'id="error-summary".*?</ul>', page_of(response), re.DOTALL)
    stored = Job.objects.count(), SubmitKey.objects.count(), Hold.objects.count()
    assert (response.status_code, stored) == (422, (0, 0, 0))
    assert summary and sentence.replace("'", "&#x27;") in summary[0]


NO_NUMBERS = ["0", "-1", "1.5", "9" * 13, "9" * 20, "9" * 30]


@pytest.mark.parametrize("typed", NO_NUMBERS)
@pytest.mark.parametrize(
    ("language", "gpus", "time", "retries"),
    [
        (
            "en",
            "Enter the number of GPUs as a whole number. {0.name_en} takes from 1 to 4 GPUs.",
            "Enter the time limit as a whole number. The time limit on this plan is from 1 min to 6 d.",
            "Choose how often the job starts again, from 0 to 3 times.",
        ),
        (
            "ja",
            "GPUの枚数は整数で入力してください。{0.name_ja}で選べるGPUは1枚から4枚です。",
            "最長の実行時間は整数で入力してください。このプランの最長の実行時間は1分から6日までです。",
            "やり直す回数は0回から3回までの中から選んでください。",
        ),
    ],
)
def test_a_number_that_no_job_can_have_is_refused_with_the_least_and_the_most_and_kept(
    client_of, member, project, cluster_plan, credit, typed, language, gpus, time, retries
):
    sent = {"gpus": typed, "time_amount": typed, "retries": "-1" if typed == "0" else typed}
    response = client_of(member, language).post("/jobs/new/", fields(project, cluster_plan, **sent))
    form = response.context["form"]
    assert (response.status_code, Job.objects.count(), Hold.objects.count()) == (422, 0, 0)
    assert {name: list(said) for name, said in form.errors.items()} == {
        "gpus": [gpus.format(cluster_plan)], "time_amount": [time], "retries": [retries],
    }  # fmt: skip
    page = page_of(response)
    assert f'<option value="{sent["gpus"]}" selected>' in page
    assert re.search(rf'<input[^>]*name="time_amount"[^>]*value="{re.escape(typed)}"', page)
    assert f'<option value="{sent["retries"]}" selected>' in page


def test_a_number_is_refused_with_the_limits_of_all_plans_where_none_is_chosen(
    client_of, member, project, container_plan, credit
):
    response = client_of(member, "en").post(
        "/jobs/new/", fields(project, container_plan, offering="", gpus="9" * 25, time_amount="9" * 25)
    )
    assert {name: list(said) for name, said in response.context["form"].errors.items()} == {
        "offering": ["Choose a GPU plan."],
        "gpus": ["Enter the number of GPUs as a whole number from 1 to 100,000."],
        "time_amount": ["Enter the time limit as a whole number, for a time from 1 minute to 20 days."],
    }


def test_emoji_full_width_digits_and_windows_lines_are_fine(client_of, member, project, container_plan, credit):
    changes = {
        "name": "実験🚀",
        "script": "#!/bin/sh\r\necho 🚀\r\n",
        "script_name": "",
        "cost_cap": "５００円",
        "time_amount": "３０",
    }
    client_of(member).post("/jobs/new/", fields(project, container_plan, **changes))
    job = Job.objects.get()
    assert (job.name, job.script, job.script_name, job.command, job.cost_cap) == (
        "実験🚀",
        "#!/bin/sh\necho 🚀\n",
        "main.sh",
        "sh ./main.sh",
        500,
    )


def test_more_than_is_left_is_refused_with_what_is_left(client_of, member, project, cluster_plan, credit):
    changes = {"time_amount": "100", "time_unit": "hours", "cost_cap": "90000"}
    response = client_of(member).post("/jobs/new/", fields(project, cluster_plan, **changes))
    assert (response.status_code, Job.objects.count()) == (422, 0)
    assert "¥10,000" in page_of(response)


def test_what_exceeds_the_budget_is_asked_for_approved_and_created_from_the_kept_form(
    client_of, member, manager, project, container_plan, credit
):
    set_limit(project.organization, project=project, monthly_limit=100, by=manager)
    client, form = client_of(member, "en"), fields(project, container_plan, secrets="TOKEN=canary")
    refused = page_of(client.post("/jobs/new/", form))
    assert "This exceeds the remaining budget (¥100)" in refused and "Ask for an approval" in refused
    silent = client.post("/jobs/new/", {**form, "ask": "1"})
    assert (silent.status_code, list(silent.context["form"].errors), SpendRequest.objects.count()) == (
        422, ["ask_reason"], 0,
    )  # fmt: skip
    client.post("/jobs/new/", {**form, "ask": "1", "ask_reason": "the paper's deadline"})
    request = SpendRequest.objects.get()
    assert (request.amount, request.reason, Job.objects.count()) == (500, "the paper's deadline", 0)
    assert "canary" not in str(list(SpendRequest.objects.values()))
    address = f"/jobs/new/?approved={request.code}"
    assert client.get(address).status_code == 404  # not yet
    approve(request, by=manager)
    page = client.get(address)
    kept = {name: str(page.context["form"][name].value()) for name in form if name not in ("key", "secrets")}
    assert kept == {name: value for name, value in form.items() if name in kept}
    assert client_of(manager).get(address).status_code == 404
    changed = {**form, "script": "print('something else')\n"}
    assert client.post("/jobs/new/", {**changed, "key": "b" * 32}).status_code == 422
    created = client.post("/jobs/new/", {**form, "key": "c" * 32, "secrets": "TOKEN=typed again"})
    job = Job.objects.get()
    assert created["Location"] == f"/jobs/{job.code}/"
    assert list(SpendRequest.objects.values_list("state", "job_code")) == [("used", job.code)]


def test_the_quote_says_what_needs_an_approval(client_of, member, manager, project, container_plan, credit):
    terms = Terms(1000, at_50=BudgetAction.ASK)
    create(project.organization, project=project, period=BudgetPeriod.MONTH, terms=terms, by=manager)
    client = client_of(member, "en")
    said = [
        "More than ¥500 needs an approval." in page_of(client.get("/jobs/new/quote/", fields(project, container_plan)))
    ]
    changes = {"time_amount": "2", "time_unit": "hours", "cost_cap": "600"}
    more = fields(project, container_plan, **changes)
    said.append("More than ¥500 needs an approval." in page_of(client.get("/jobs/new/quote/", more)))
    refused = client.post("/jobs/new/", more)
    assert (said, refused.status_code, "Ask for an approval" in page_of(refused)) == ([False, True], 422, True)


def test_a_project_closed_between_view_and_submit_is_told(client_of, member, project, container_plan, credit):
    project.closed_at = timezone.now()
    project.save()
    response = client_of(member, "en").post("/jobs/new/", fields(project, container_plan))
    assert (response.status_code, Job.objects.count()) == (422, 0)
    summary = re.search(r'id="error-summary".*?</ul>', page_of(response), re.DOTALL)
    assert summary and "This project is closed. Choose another project, or ask an administrator" in summary[0]
    assert "print(&#x27;こんにちは&#x27;)" in page_of(response)  # what was typed is still there


def test_a_form_that_made_a_job_and_was_changed_asks_before_it_makes_another(
    client_of, member, project, container_plan, credit
):
    client = client_of(member, "en")
    client.post("/jobs/new/", fields(project, container_plan))
    changed = fields(project, container_plan, script="print(2)")
    again = client.post("/jobs/new/", changed)
    assert (again.status_code, Job.objects.count()) == (422, 1)
    assert "This form has already created a job." in page_of(again)
    fresh_key = re.search(r'name="key" value="([^"]+)"', page_of(again))
    assert fresh_key and fresh_key[1] != KEY
    assert client.post("/jobs/new/", {**changed, "key": fresh_key[1]}).status_code == 302
    assert Job.objects.count() == 2


def test_a_form_for_a_closed_project_goes_on_with_the_only_open_one(
    client_of, member, organization, project, container_plan, credit
):
    closed = ProjectFactory(organization=organization, closed_at=timezone.now())
    client = client_of(member, "en")
    response = client.post("/jobs/new/", fields(closed, container_plan))
    assert (response.status_code, Job.objects.count()) == (422, 0)
    assert f"create the job in “{project.name}”" in page_of(response)
    assert f'name="project" value="{project.code}"' in page_of(response)
    assert client.post("/jobs/new/", fields(project, container_plan)).status_code == 302
    assert Job.objects.get().project == project


def test_a_head_request_stops_nothing(client_of, member, project):
    job = JobFactory(project=project, submitted_by=member, state="running")
    response = client_of(member).head(f"/jobs/{job.code}/stop/")
    job.refresh_from_db()
    assert (response.status_code, job.stop_requested_at, job.state) == (200, None, "running")


def test_an_account_without_an_open_project_keeps_no_draft(client_of, member, project, container_plan):
    project.closed_at = timezone.now()
    project.save()
    response = client_of(member).post("/jobs/new/draft/", fields(project, container_plan))
    assert (response.status_code, Draft.objects.count()) == (404, 0)


def test_secrets_never_come_back(client_of, member, project, container_plan, credit):
    response = client_of(member).post(
        "/jobs/new/", fields(project, container_plan, secrets="TOKEN=canary-7731", environment="TOKEN_URL=x")
    )
    code = Job.objects.get().code
    client = client_of(member)
    pages = [client.get(f"/jobs/{code}/{tab}") for tab in ("", "events/", "config/", "artifacts/")]
    pages += [client.get(f"/jobs/new/?copy={code}")]
    assert response.status_code == 302
    assert [("canary-7731" in page_of(page)) for page in pages] == [False] * 5
    assert "TOKEN=" in page_of(pages[-1])


def test_inputs_are_files_of_the_project_or_whole_datasets(client_of, member, project, cluster_plan, credit):
    dataset = DatasetFactory(project=project, name="texts", created_by=member)
    first, second = DataFileFactory(dataset=dataset), DataFileFactory(dataset=dataset)
    foreign = DataFileFactory()
    client = client_of(member)
    refused = client.post("/jobs/new/", fields(project, cluster_plan, inputs=[foreign.code]))
    client.post("/jobs/new/", fields(project, cluster_plan, inputs=[dataset.code]))
    assert refused.status_code == 422
    assert sorted(JobInput.objects.values_list("path", flat=True)) == sorted(
        [f"texts/{first.name}", f"texts/{second.name}"]
    )


def test_a_job_reads_a_version_and_its_pages_say_which(client_of, member, project, cluster_plan, credit):
    dataset = DatasetFactory(project=project, name="本文", folder="texts", created_by=member, latest_number=2)
    old = DataFileFactory(dataset=dataset, name="old", added_in=1, removed_in=2)
    new = DataFileFactory(dataset=dataset, name="new", added_in=2)
    for number in (1, 2):
        version = DatasetVersionFactory(dataset=dataset, number=number, file_count=1, size_bytes=5)
    client = client_of(member, "en")
    begun = client.get(f"/jobs/new/?input={dataset.code}")
    client.post("/jobs/new/", fields(project, cluster_plan, inputs=[dataset.code], versions=[f"{dataset.code}@1"]))
    first = Job.objects.get()
    client.post("/jobs/new/", fields(project, cluster_plan, inputs=[dataset.code], key="n" * 32))
    second = Job.objects.order_by("-pk")[0]
    pages = [page_of(client.get(f"/jobs/{first.code}/{tab}")) for tab in ("", "config/")]
    again = client.get(f"/jobs/new/?copy={first.code}")

    (choice,) = begun.context["form"].data_choices.datasets
    assert (choice.is_attached, choice.chosen) == (True, version)
    assert [list(job.inputs.values_list("data_file", flat=True)) for job in (first, second)] == [[old.pk], [new.pk]]
    address = f"/datasets/{dataset.code}/versions/1/"
    assert [(address in page, "本文, version 1" in page, "1 file, 5" in page) for page in pages] == [(True,) * 3] * 2
    assert version.manifest_sha256 in pages[1]
    (copied,) = again.context["form"].data_choices.datasets
    assert (copied.is_attached, copied.chosen.number) == (True, 1)


def test_an_old_job_with_single_files_is_shown_and_copied_as_before(client_of, member, project, cluster_plan, credit):
    file = DataFileFactory(dataset=DatasetFactory(project=project, folder="texts"), name="words.txt", added_in=1)
    version = DatasetVersionFactory(dataset=file.dataset, number=1, file_count=1)
    Dataset.objects.filter(pk=file.dataset_id).update(latest_number=1)
    job = JobFactory(project=project, submitted_by=member)
    JobInput.objects.create(job=job, data_file=file, path=file.path, size_bytes=5, sha256=file.sha256)
    client = client_of(member)
    pages = [page_of(client.get(f"/jobs/{job.code}/{tab}")) for tab in ("", "config/")]
    (choice,) = client.get(f"/jobs/new/?copy={job.code}").context["form"].data_choices.datasets
    assert ["texts/words.txt" in page for page in pages] == [True, True]
    assert (choice.is_attached, choice.chosen, list(choice.files)) == (False, version, [file])


def test_word_statistics_asks_for_a_file_until_the_script_is_changed(client_of, member, project, cluster_plan, credit):
    chosen = starter("word-statistics")
    own = {"template": chosen.slug, "script": chosen.script, "image": chosen.image}
    refused = client_of(member, "en").post("/jobs/new/", fields(project, cluster_plan, **own))
    changed = client_of(member).post(
        "/jobs/new/", fields(project, cluster_plan, **own | {"script": "print('own')", "key": "z" * 32})
    )
    assert refused.status_code == 422 and "This starter reads a file." in page_of(refused)
    assert changed.status_code == 302
    assert Job.objects.get().image == ""  # the starter's image, which this plan does not run


@pytest.mark.parametrize(("plan", "kept"), [("container_plan", "python:3.11-slim"), ("cluster_plan", "")])
def test_an_empty_form_begins_with_an_image_that_counts_where_containers_run(
    request, client_of, member, project, credit, plan, kept
):
    plan, client = request.getfixturevalue(plan), client_of(member)
    (image,) = re.findall(r'name="image" value="([^"]*)"', page_of(client.get("/jobs/new/")))
    client.post("/jobs/new/", fields(project, plan, image=image))
    assert (image, Job.objects.get().image) == ("python:3.11-slim", kept)


def test_the_draft_is_kept_without_secrets_restored_and_discarded(client_of, member, project, container_plan):
    client = client_of(member, "en")
    client.post(
        "/jobs/new/draft/", fields(project, container_plan, name="half done", secrets="TOKEN=canary-7731"), headers=HTMX
    )
    kept = Draft.objects.get()
    page = page_of(client.get("/jobs/new/"))
    assert "canary-7731" not in str(kept.fields)
    assert 'value="half done"' in page and "is restored" in page
    assert client.post("/jobs/new/draft/", {"discard": "1"})["Location"] == "/jobs/new/"
    assert Draft.objects.count() == 0


def test_the_quote_follows_the_choice(client_of, member, project, cluster_plan, container_plan, credit):
    asked = {"project": project.code, "offering": "cluster", "gpus": "4", "time_amount": "2", "time_unit": "hours",
             "cost_cap": "1008", "suggested": "1008"}  # fmt: skip
    page = page_of(client_of(member, "en").get("/jobs/new/quote/", asked, headers=HTMX))
    assert "<html" not in page
    assert "¥8,000" in page  # 2 h x 4 GPUs x 1,000
    assert re.findall(r'<option value="(\d)"', page) == ["1", "2", "3", "4"]
    assert 'name="cost_cap" value="8000"' in page  # the cap was our suggestion, so it follows
    own = page_of(client_of(member, "en").get("/jobs/new/quote/", asked | {"cost_cap": "4000"}, headers=HTMX))
    assert "The cap ends the job after about 1 h." in own
    assert "cost_cap" not in own


def test_the_quote_says_what_is_wrong_with_a_time_that_the_plan_has_not(client_of, member, project, cluster_plan):
    asked = {"project": project.code, "offering": "cluster", "gpus": "4", "time_amount": "30", "time_unit": "days"}
    page = page_of(client_of(member, "en").get("/jobs/new/quote/", asked, headers=HTMX))
    assert "The time limit on this plan is from 1 min to 6 d." in page
    assert "Choose a plan and a time limit" not in page


def test_the_quote_calls_nothing_a_minimum_that_is_none(client_of, member, project, cluster_plan, container_plan):
    client = client_of(member, "en")
    asked = {"project": project.code, "gpus": "1", "time_amount": "1", "time_unit": "hours"}
    rows = {
        plan: re.findall(
            r"<dt>(At least|Per minute|Metered)</dt><dd>(.*?)</dd>",
            page_of(client.get("/jobs/new/quote/", {**asked, "offering": plan}, headers=HTMX)),
        )
        for plan in ("cluster", "dok-h100")
    }
    assert {plan: [(name, re.sub(r"<.*?>", "", text)) for name, text in found] for plan, found in rows.items()} == {
        "cluster": [
            ("Per minute", "¥16.67 there is no minimum charge"),
            ("Metered", "by the second, as the part of the price per hour (¥1,000); preparation is free"),
        ],
        "dok-h100": [
            ("At least", "¥16 charged for 1 min at least"),
            ("Metered", "by the second, preparation is free"),
        ],
    }


def test_the_quote_has_a_low_a_likely_and_a_high_cost(client_of, member, project, container_plan, credit):
    client, price = client_of(member, "en"), Price.objects.get(offering=container_plan)
    asked = {"project": project.code, "offering": "dok-h100", "gpus": "1", "time_amount": "1", "time_unit": "hours",
             "template": STARTERS[0].slug}  # fmt: skip

    def rows() -> list[str]:
        page = page_of(client.get("/jobs/new/quote/", asked, headers=HTMX))
        found = re.findall(r"<dt>(Low / likely / high|Usually)</dt><dd>(.*?)</dd>", page, re.DOTALL)
        return [f"{name}: {' '.join(re.sub('<.*?>', '', text).split())}" for name, text in found]

    before = rows()
    for seconds in (100, 200, 300, 400, 500):
        JobFactory(
            project=project, price=price, template=STARTERS[0].slug, state="succeeded", gpu_seconds=seconds,
        )  # fmt: skip
    assert (before, rows()) == (
        [
            "Low / likely / high: ¥16 / not known yet / ¥1,008 only 0 jobs like this have succeeded in this project,"
            " too few to tell",
            "Usually: about ¥16",
        ],
        [
            "Low / likely / high: ¥28 / ¥84 / ¥1,008 cheapest and middle of the last 5 jobs like this in this project"
            " (template, plan, GPUs), and what is set aside"
        ],
    )


def test_without_script_an_untouched_cap_follows_the_plan(client_of, member, project, cluster_plan, container_plan):
    sent = fields(project, cluster_plan, cost_cap="10", suggested="10", refresh="1", gpus="4")
    page = page_of(client_of(member, "en").post("/jobs/new/", sent))
    own = page_of(client_of(member, "en").post("/jobs/new/", {**sent, "suggested": "504"}))
    assert ['name="cost_cap" value="2000"' in page, 'name="cost_cap" value="10"' in own] == [True, True]


def test_a_form_sent_before_its_numbers_followed_the_plan_is_created_by_sending_it_again(
    client_of, member, project, cluster_plan, container_plan, credit
):
    type(cluster_plan).objects.filter(pk=cluster_plan.pk).update(gpus_min=4)
    client = client_of(member, "en")
    sent = fields(project, cluster_plan, cost_cap="10", suggested="10", gpus="1", image="")
    first = client.post("/jobs/new/", sent)
    page = page_of(first)
    assert "GPUs are now 4 and the cost cap ¥2,000, as this plan needs." in page
    assert (first.status_code, Job.objects.count()) == (422, 0)
    assert re.findall(r'name="(cost_cap|suggested)" value="([^"]*)"', page) == [
        ("suggested", "2000"),
        ("cost_cap", "2000"),
    ]
    assert re.search(r'<option value="4"[^>]* selected', page)
    again = client.post("/jobs/new/", {**sent, "gpus": "4", "cost_cap": "2000"})
    assert again.status_code == 302


def test_a_number_that_was_typed_stays_beside_its_error(client_of, member, project, cluster_plan, credit):
    sent = fields(project, cluster_plan, cost_cap="10", suggested="2000", gpus="4", image="")
    page = page_of(client_of(member, "en").post("/jobs/new/", sent))
    assert ["as this plan needs" in page, 'name="cost_cap" value="10"' in page] == [False, True]


def test_a_form_that_was_sent_is_no_draft_again(client_of, member, project, container_plan, credit):
    client = client_of(member)
    sent = fields(project, container_plan)
    client.post("/jobs/new/", sent)
    late = client.post("/jobs/new/draft/", sent, headers=HTMX)
    assert (Job.objects.count(), late.status_code, Draft.objects.count()) == (1, 204, 0)


def test_who_has_no_organization_is_shown_the_way_to_one(client_of, db):
    client = client_of(UserFactory())
    pages = [page_of(client.get(url)) for url in ("/jobs/", "/jobs/new/")]
    assert ['class="btn primary" href="/start/"' in page for page in pages] == [True, True]


def test_a_viewer_may_not_create(client_of, viewer, project, container_plan):
    client = client_of(viewer)
    assert [client.get("/jobs/new/").status_code, client.post("/jobs/new/", {}).status_code] == [403, 403]


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_filters_and_pages(client_of, member, organization, project):
    price = PriceFactory()
    jobs = [JobFactory(project=project, price=price, submitted_by=member, name=f"job {i:02}") for i in range(30)]
    JobFactory(name="of others")
    Job.objects.filter(pk=jobs[3].pk).update(state=JobState.FAILED, name="100% odd_name")
    client = client_of(member)

    def names(url):
        return re.findall(r'class="name" href="[^"]+">([^<]+)</a>', page_of(client.get(url)))

    first = page_of(client.get("/jobs/"))
    older = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    assert len(names("/jobs/")) == 25 and names("/jobs/")[0] == "job 29"
    assert names(f"/jobs/{older}") == ["job 04", "100% odd_name", "job 02", "job 01", "job 00"]
    newer = re.search(r'rel="prev" href="([^"]+)"', page_of(client.get(f"/jobs/{older}")))[1].replace("&amp;", "&")
    assert names(f"/jobs/{newer}") == names("/jobs/")
    assert names("/jobs/?state=failed") == ["100% odd_name"]
    assert names("/jobs/?q=D_N") == ["100% odd_name"]
    assert names(f"/jobs/?q={jobs[7].code[:17].lower()}") == ["job 07"]
    assert names("/jobs/?provider=kddi") == []
    assert len(names(f"/jobs/?person={member.pk}")) == 25
    assert len(names("/jobs/?state=%00&provider=%00&person=-1&before=x&q=%00&project=o")) == 25


def test_the_list_of_somebody_with_two_projects_only(client_of, organization, project):
    other = ProjectFactory(organization=organization)
    hidden = ProjectFactory(organization=organization)
    person = MembershipFactory(organization=organization, project=project, role=Role.MEMBER).user
    MembershipFactory(user=person, organization=organization, project=other, role=Role.VIEWER)
    price = PriceFactory()
    for name, place in (("one", project), ("two", other), ("three", project), ("no", hidden)):
        JobFactory(project=place, price=price, name=name)
    page = page_of(client_of(person).get("/jobs/"))
    assert re.findall(r'class="name" href="[^"]+">([^<]+)</a>', page) == ["three", "two", "one"]


@pytest.mark.parametrize("count", [1, 3, 25])
def test_the_list_takes_the_same_few_statements(client_of, member, project, count, django_assert_max_num_queries):
    price = PriceFactory()
    for _ in range(count):
        JobFactory(project=project, price=price, submitted_by=UserFactory())
    client = client_of(member)
    client.get("/jobs/")
    with django_assert_max_num_queries(10) as counted:
        client.get("/jobs/")
    assert len(counted) == 8


def test_the_list_walks_the_index_of_its_place_even_when_the_newest_rows_are_of_others(project):
    """An equality alone lets PostgreSQL walk the primary key past all rows of everybody else."""
    price, person = PriceFactory(), UserFactory()
    for place in (project, ProjectFactory()):
        Job.objects.bulk_create(
            JobFactory.build(
                project=place, organization=place.organization, submitted_by=person, price=price,
                offering=price.offering, code=f"J-{place.pk}-{n}",
            )
            for n in range(2000)
        )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_job")
    for place, pk in (("project", project.pk), ("organization", project.organization_id)):
        for sign in ("-", ""):
            assert f"job_by_{place}" in _newest((place, pk), Q(), sign).explain()


def test_the_list_polls_only_while_something_moves(client_of, member, project, time_machine):
    time_machine.move_to(timezone.now(), tick=False)  # the version counts seconds by fives or minutes
    job = JobFactory(project=project)
    client = client_of(member)
    page = page_of(client.get("/jobs/"))
    tag = re.search(r'hx-ptag="([^"]+)"', page)[1]
    assert client.get("/jobs/", headers={**HTMX, "HX-PTag": tag}).status_code == 304
    job.touch(waiting_reason="capacity")
    changed = client.get("/jobs/", headers={**HTMX, "HX-PTag": tag})
    assert changed.status_code == 200 and "<html" not in page_of(changed)
    Job.objects.update(state=JobState.SUCCEEDED)
    assert "every 5s" not in page_of(client.get("/jobs/"))


def test_starters_keep_the_plan_and_the_data_that_somebody_came_with(client_of, member, funded):
    page = page_of(client_of(member, "en").get("/jobs/new/?offering=dok-h100&input=f-1&input=%22%3E%3Cb%3E&copy="))
    assert "?template=word-statistics&amp;offering=dok-h100&amp;input=f-1&amp;input=%22%3E%3Cb%3E" in page
    assert "<b>&" not in page and "?template=empty&amp;offering=dok-h100" in page


def test_the_list_says_run_time_and_cost_as_the_jobs_page_does(client_of, member, project, time_machine):
    time_machine.move_to(timezone.now(), tick=False)
    job = running_job(project, submitted_by=member)
    client = client_of(member, "en")
    cells = re.findall(r'<td class="num">(.*?)</td>', page_of(client.get("/jobs/")))
    assert cells == ["30 min", "¥504"]
    page = page_of(client.get(f"/jobs/{job.code}/"))
    assert [words in page for words in cells] == [True, True]


def test_an_empty_project_points_at_the_jobs_of_the_others(client_of, member, organization, project):
    other = ProjectFactory(organization=organization)
    JobFactory(project=other)
    client = client_of(member, "en")
    page = page_of(client.get(f"/jobs/?project={project.code}"))
    assert "This project has no jobs yet" in page and 'href="/jobs/?project=all"' in page
    assert 'id="j-' in page_of(client.get("/jobs/?project=all"))


@pytest.mark.parametrize(("tab", "words"), [("artifacts", "result.csv"), ("events", "results are being saved")])
def test_open_tabs_follow_the_job_until_it_ends(client_of, member, project, tab, words, time_machine):
    time_machine.move_to(timezone.now(), tick=False)  # the version counts seconds by fives or minutes
    job = running_job(project)
    client, url = client_of(member, "en"), f"/jobs/{job.code}/{tab}/"
    polls = f'hx-get="{url}" hx-trigger="every 5s"'
    page = page_of(client.get(url))
    tag = re.search(rf'hx-get="{url}"[^>]*hx-ptag="([^"]+)"', page)[1]
    assert (words in page, polls in page) == (False, True)
    assert client.get(url, headers={**HTMX, "HX-PTag": tag}).status_code == 304
    ArtifactFactory(job=job, path="result.csv")
    for state in (JobState.FINISHING, JobState.SUCCEEDED):
        job.move_to(state, reason="ended", by="portal:test")
    fragment = page_of(client.get(url, headers={**HTMX, "HX-PTag": tag}))
    assert (words in fragment, polls in fragment, "<html" in fragment) == (True, False, False)


def test_a_job_in_line_shows_its_place_and_moves_up_without_news_of_its_own(client_of, member, project, time_machine):
    time_machine.move_to(timezone.now(), tick=False)  # the version counts seconds by fives or minutes
    account = ProviderAccountFactory(concurrent_limit=1)
    waiting = [JobFactory(project=project, waiting_reason="quota") for _ in range(3)]
    for job in waiting:
        AttemptFactory(job=job, account=account)
    client, url = client_of(member, "en"), f"/jobs/{waiting[2].code}/"
    page = page_of(client.get(url))
    assert "It is number 3 in line; 1 job runs at a time there." in page
    tag = re.search(r'hx-ptag="([^"]+)"', page)[1]
    assert client.get(url, headers={**HTMX, "HX-PTag": tag}).status_code == 304
    Attempt.objects.filter(job=waiting[0]).update(state="accepted", remote_id="r1")
    assert "It is number 2 in line" in page_of(client.get(url, headers={**HTMX, "HX-PTag": tag}))
    assert "in line" not in page_of(client.get(f"/jobs/{waiting[0].code}/"))


def test_the_empty_list_offers_starters(client_of, member, project):
    page = page_of(client_of(member).get("/jobs/"))
    assert all(f"?template={s.slug}" in page for s in STARTERS)


# --- one job ----------------------------------------------------------------------------------------------------------


def running_job(project, **fields):
    now = timezone.now()
    job = JobFactory(
        project=project, state=JobState.RUNNING, submitted_at=now - timedelta(minutes=31),
        started_at=now - timedelta(minutes=30), **fields,
    )  # fmt: skip
    for state, ago in ((JobState.SUBMITTED, 31), (JobState.QUEUED, 31), (JobState.RUNNING, 30)):
        JobEvent.objects.create(job=job, kind="state", after=state, at=now - timedelta(minutes=ago), by="portal:test")
    AttemptFactory(job=job, state="running", seen_at=now, remote_id="r-1")
    return job


def steps_of(page):
    return re.findall(r'<li class="(\w*)"(?: aria-current="step")?><span class="pt">.*?<b>([^<]+)</b>', page)


def test_a_running_job_shows_its_timeline_and_cost_against_the_cap(client_of, member, project):
    job = running_job(project, submitted_by=member)
    page = page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))
    assert steps_of(page) == [
        ("done", "Accepted"),
        ("done", "Queued"),
        ("skipped", "Preparing"),
        ("now", "Running"),
        ("", "Saving results"),
        ("", "Completed"),
    ]
    assert "Charging starts" in page
    assert "¥504" in page  # 30 min x ¥0.28/s
    assert "50% of the cap of ¥1,000" in page
    assert "30.0 GPU-minutes" in page


@pytest.mark.parametrize(
    ("state", "last", "notice"),
    [
        (JobState.SUCCEEDED, ("done", "Completed"), None),
        (JobState.FAILED, ("failed", "Failed"), "Your program ended with an error."),
        (JobState.CANCELLED, ("ended", "Stopped"), "The job was stopped."),
        (
            JobState.EXPIRED,
            ("ended", "Cost cap or budget reached"),
            "The job was stopped because its cost cap or a budget was reached.",
        ),
    ],
)
def test_an_ended_job_says_how_and_what_to_do_and_polls_no_more(client_of, member, project, state, last, notice):
    job = running_job(project, submitted_by=member)
    job.move_to(JobState.FINISHING, by="portal:test")
    failure = {JobState.FAILED: FailureClass.PROGRAM, JobState.EXPIRED: FailureClass.OVER_BUDGET}.get(state, "")
    job.move_to(state, by="portal:test", failure=failure, exit_code=1, ended_at=timezone.now())
    page = page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))
    assert steps_of(page)[-1] == last
    assert notice is None or notice in page
    assert "every" not in page
    assert f"/jobs/{job.code}/stop/" not in page


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        (1008, "is stopped at 24 Nov 15:00 at the latest, when its time limit is reached."),
        (756, "is stopped at 24 Nov 14:45 at the latest, when its cost cap is reached."),
    ],
)
def test_a_job_that_was_warned_says_when_it_ends_and_why(client_of, member, project, cap, said, time_machine):
    time_machine.move_to(datetime(2026, 11, 24, 5, 30, tzinfo=UTC), tick=False)
    job = running_job(project, cost_cap=cap)
    assert "is stopped at" not in page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))
    job.attempts.update(warned_min=30)
    assert said in page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))
    job.touch(stop_requested_at=timezone.now())
    assert "is stopped at" not in page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))


def test_a_poll_gets_304_until_something_changes(client_of, member, project, time_machine):
    time_machine.move_to(timezone.now().replace(second=0, microsecond=0), tick=False)
    job = running_job(project, submitted_by=member)
    client = client_of(member)
    tag = re.search(r'hx-ptag="([^"]+)"', page_of(client.get(f"/jobs/{job.code}/")))[1]
    polled = {**HTMX, "HX-PTag": tag}
    assert client.get(f"/jobs/{job.code}/", headers=polled).status_code == 304
    job.touch(cost=3)
    answer = client.get(f"/jobs/{job.code}/", headers=polled)
    assert answer.status_code == 200
    assert 'id="job-side" hx-swap-oob="outerMorph"' in page_of(answer)
    assert "log-lines" not in page_of(answer)


def test_an_unknown_attempt_is_told_since_when_and_what_happens_next(client_of, member, project):
    job = JobFactory(project=project)
    AttemptFactory(job=job, state="unknown", sent_at=timezone.now())
    page = page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))
    assert "Being checked" in page
    assert "never send it twice" in page


def told_of(client_of, member, job, path=""):
    page = page_of(client_of(member, "en").get(f"/jobs/{job.code}/{path}"))
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_job_that_its_provider_stops_showing_is_told_since_its_last_sign(client_of, member, project):
    job = running_job(project)
    job.attempts.update(state="unknown", seen_at=datetime(2026, 11, 30, 3, 4, tzinfo=UTC))
    told = told_of(client_of, member, job)
    assert "The provider accepted this job, and has not shown it since Mon 30 Nov 12:04." in told
    assert "we do not know whether the provider received" not in told


def test_a_job_that_is_to_be_stopped_while_nobody_knows_of_it_says_so(client_of, member, project):
    job = JobFactory(project=project, stop_requested_at=timezone.now())
    AttemptFactory(job=job, state="unknown", sent_at=timezone.now())
    told = told_of(client_of, member, job)
    assert "Being checked" in told and "It is to be stopped (asked at " in told
    assert "You need not do anything" not in told


def test_a_job_that_waits_for_its_provider_is_told_since_when(client_of, member, project):
    job = JobFactory(project=project, waiting_reason="unreachable")
    attempt = AttemptFactory(job=job, state="intended")
    ProviderAccount.objects.filter(pk=attempt.account_id).update(failing_since=datetime(2026, 11, 30, 3, 4, tzinfo=UTC))
    assert "(since Mon 30 Nov 12:04)" in told_of(client_of, member, job)


@pytest.mark.parametrize(("state", "is_certain"), [("intended", True), ("sending", False), ("unknown", False)])
def test_stopping_promises_no_charge_only_before_the_job_was_sent(client_of, member, project, state, is_certain):
    job = JobFactory(project=project, submitted_by=member)
    AttemptFactory(job=job, state=state, sent_at=timezone.now())
    for path in ("", "stop/"):
        told = told_of(client_of, member, job, path)
        assert ("It is taken out of the queue, and nothing is charged." in told) == is_certain
        assert ("it is ended at the provider, and what it ran is charged." in told) == (not is_certain)


def test_a_silent_provider_is_told_with_the_age_of_its_news(client_of, member, project):
    job = running_job(project)
    job.attempts.update(seen_at=timezone.now() - timedelta(minutes=7))
    assert "last news of this job is from 7 min ago" in page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))


ANSWERS, SILENT = ("live needs-js", "Live"), ("live silent", "The provider does not answer at the moment")


@pytest.mark.parametrize(
    ("state", "attempt", "failing_for", "said"),
    [
        ("running", {}, None, ANSWERS),
        ("running", {"seen_at": timedelta(minutes=7)}, None, SILENT),
        ("running", {"state": "unknown"}, None, SILENT),
        ("running", {}, timedelta(seconds=10), SILENT),  # the job's last news are younger
        ("submitted", {"state": "intended", "seen_at": None}, timedelta(minutes=7), SILENT),
        ("finishing", {"state": "ended"}, timedelta(minutes=7), SILENT),
    ],
)
def test_the_log_is_live_only_while_the_provider_answers(client_of, member, project, state, attempt, failing_for, said):
    """In the page, with new lines, and by the poll that brings the head."""
    look, words = said
    job = running_job(project)
    Job.objects.update(state=state)
    job.attempts.update(**{k: timezone.now() - v if isinstance(v, timedelta) else v for k, v in attempt.items()})
    if failing_for:
        ProviderAccount.objects.update(failing_since=timezone.now() - failing_for)
    log_of(job, 1)
    client = client_of(member, "en")
    page = client.get(f"/jobs/{job.code}/")
    lines = client.get(f"/jobs/{job.code}/lines/?after=0", headers=HTMX)
    head = client.get(f"/jobs/{job.code}/", headers=HTMX)
    news = re.compile(r'<span id="log-news" class="([^"]*)"([^>]*)><i></i>([^<]*)<')
    assert [news.findall(page_of(answer)) for answer in (page, lines, head)] == [
        [(look, "", words)], [(look, "", words)], [(look, ' hx-swap-oob="outerMorph"', words)],
    ]  # fmt: skip


def test_strangers_and_accountants_get_404_everywhere(client_of, stranger, billing, project):
    job = JobFactory(project=project)
    found = ArtifactFactory(job=job)
    paths = ["", "events/", "config/", "artifacts/", f"artifacts/{found.pk}/", "lines/", "log/", "stop/"]
    for person in (stranger, billing):
        client = client_of(person)
        assert {client.get(f"/jobs/{job.code}/{path}").status_code for path in paths} == {404}
        assert client.post(f"/jobs/{job.code}/stop/").status_code == 404
        assert client.get(f"/jobs/new/?copy={job.code}").status_code in (403, 404)


def test_an_artifact_is_given_by_a_short_lived_link_with_its_name(client_of, member, project):
    found = ArtifactFactory(job=JobFactory(project=project), path="結果/counts 1.csv", storage_key="t/test/key")
    answer = client_of(member).get(f"/jobs/{found.job.code}/artifacts/{found.pk}/")
    query = parse_qs(urlsplit(answer["Location"]).query)
    assert answer.status_code == 302
    assert "counts 1.csv" in query["response-content-disposition"][0]
    assert client_of(member).get(f"/jobs/{JobFactory(project=project).code}/artifacts/{found.pk}/").status_code == 404


# --- logs -------------------------------------------------------------------------------------------------------------


def log_of(job, count, *, text="line"):
    per_chunk = 500
    for first in range(1, count + 1, per_chunk):
        lines = [f"{text} {n}" for n in range(first, min(first + per_chunk, count + 1))]
        LogChunkFactory(job=job, first_line=first, line_count=len(lines), text="\n".join(lines))
    job.touch(log_lines=count)


def numbers(page):
    found = [int(n) for n in re.findall(r'<li id="L(\d+)">', page)]
    return (found[0], found[-1], len(found)) if found else None


def test_the_page_has_the_last_thousand_lines_and_a_way_to_older_ones(client_of, member, project):
    job = running_job(project)
    log_of(job, 2600)
    client = client_of(member)
    page = page_of(client.get(f"/jobs/{job.code}/"))
    assert numbers(page) == (1601, 2600, 1000)
    assert 'href="?before=1601"' in page
    assert numbers(page_of(client.get(f"/jobs/{job.code}/?before=1601"))) == (601, 1600, 1000)
    assert numbers(page_of(client.get(f"/jobs/{job.code}/?before=601"))) == (1, 600, 600)
    assert numbers(page_of(client.get(f"/jobs/{job.code}/?line=123"))) == (1, 622, 622)
    assert numbers(page_of(client.get(f"/jobs/{job.code}/?before=x&line=-1"))) == (1601, 2600, 1000)
    assert cache.get(f"watch:{job.code}") == 1


def test_new_lines_are_appended_and_nothing_new_is_204(client_of, member, project):
    job = running_job(project)
    log_of(job, 3)
    client = client_of(member)
    page = page_of(client.get(f"/jobs/{job.code}/"))
    assert f"/jobs/{job.code}/lines/?after=3" in page
    assert client.get(f"/jobs/{job.code}/lines/?after=3", headers=HTMX).status_code == 204
    LogChunkFactory(job=job, first_line=4, line_count=2, text="four\nfive")
    job.touch(log_lines=5)
    answer = page_of(client.get(f"/jobs/{job.code}/lines/?after=3", headers=HTMX))
    assert numbers(answer) == (4, 5, 2)
    assert "lines/?after=5" in answer and 'hx-trigger="every 2s"' in answer
    Job.objects.update(state=JobState.SUCCEEDED)
    last = client.get(f"/jobs/{job.code}/lines/?after=5", headers=HTMX)
    assert last.status_code == 200 and "hx-trigger" not in page_of(last)


def test_hostile_lines_stay_text(client_of, member, project):
    job = running_job(project)
    hostile = "</li></ol><script>alert(1)</script>\n\x1b]8;;javascript:x\x07<img src=x onerror=alert(1)>\n"
    hostile += "{% now %} {{ x }} {text}"
    LogChunkFactory(job=job, first_line=1, line_count=3, text=hostile)
    job.touch(log_lines=3)
    page = page_of(client_of(member).get(f"/jobs/{job.code}/"))
    lines = re.findall(r'<span class="msg">(.*?)</span></li>', page)
    assert lines == [
        "&lt;/li&gt;&lt;/ol&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
        "&lt;img src=x onerror=alert(1)&gt;",
        "{% now %} {{ x }} {text}",
    ]


def test_the_log_is_streamed_while_it_grows_and_redirected_when_kept(client_of, member, project):
    job = running_job(project)
    log_of(job, 1200)
    client = client_of(member)
    streamed = client.get(f"/jobs/{job.code}/log/")
    assert b"".join(streamed.streaming_content).decode().splitlines() == [f"line {n}" for n in range(1, 1201)]
    assert streamed["Content-Disposition"] == f'attachment; filename="{job.code}.log"'
    job.touch(log_key="t/test/log")
    assert "/t/test/log?" in client.get(f"/jobs/{job.code}/log/")["Location"]


def test_an_ended_jobs_run_time_and_price_give_its_cost(client_of, member, project, cluster_plan):
    # 25.2 s by the clock's fractions, 26 of its whole seconds: as metered.
    at = timezone.now().replace(microsecond=900_000) - timedelta(minutes=5)
    job = JobFactory(
        project=project, offering=cluster_plan, price=Price.objects.get(offering=cluster_plan), gpus=4,
        state=JobState.SUCCEEDED, started_at=at, ended_at=at + timedelta(seconds=25.2), gpu_seconds=4 * 26, cost=28,
    )  # fmt: skip
    page = page_of(client_of(member, "en").get(f"/jobs/{job.code}/"))
    assert re.search(r"Run time <b class=\"muted\">(.*?)</b>", page)[1] == "26 s"
    assert "26 s × 4 GPU × ¥1,000 / hour" in page  # 28.9


# --- stop and copy ----------------------------------------------------------------------------------------------------


def test_stopping_says_what_it_means_and_is_asked_once(client_of, member, project):
    job = running_job(project, submitted_by=member)
    client = client_of(member, "en")
    page = page_of(client.get(f"/jobs/{job.code}/stop/"))
    assert "A stopped job cannot be resumed" in page and "¥504" in page
    answer = client.post(f"/jobs/{job.code}/stop/", follow=True)
    again = client.post(f"/jobs/{job.code}/stop/", follow=True)
    job.refresh_from_db()
    assert (job.state, job.stop_requested_by) == (JobState.RUNNING, member)
    assert "Charging ends when the provider confirms the end." in page_of(answer)
    assert "Nothing was stopped" in page_of(again)
    assert job.events.filter(kind="stop").count() == 1


def job_that_can_be_extended(project, member, *, raises_limits, **fields):
    job = running_job(project, submitted_by=member, **{"cost_cap": 1008, **fields})
    give_credit(project, job.cost_cap + 700)
    with transaction.atomic():
        hold(project.organization, project=project, job_code=job.code, amount=job.cost_cap, by="portal:test")
    job.attempts.update(started_at=job.started_at)
    ProviderAccount.objects.update(kind="slurm_rest", options={"raises_limits": raises_limits})
    return job


def test_an_hour_more_is_offered_with_its_cost_where_there_is_money_for_it(client_of, member, project, time_machine):
    time_machine.move_to(datetime(2026, 11, 24, 5, 30, tzinfo=UTC), tick=False)
    job = job_that_can_be_extended(project, member, raises_limits="true")
    client = client_of(member, "en")
    assert f'href="/jobs/{job.code}/extend/"' in page_of(client.get(f"/jobs/{job.code}/"))
    page = page_of(client.get(f"/jobs/{job.code}/extend/"))
    offered = re.findall(r'value="(\d+)"( checked)?( disabled)?><span><b>(.*?)</b> (.*?)(?: <span|</span>)', page)
    assert offered == [
        ("900", " checked", "", "+15 min", "¥252 at most, until 24 Nov 15:15"),
        ("1800", "", "", "+30 min", "¥504 at most, until 24 Nov 15:30"),
        ("3600", "", " disabled", "+1 h", "¥1,008 at most, until 24 Nov 16:00"),
        ("14400", "", " disabled", "+4 h", "¥4,032 at most, until 24 Nov 19:00"),
    ]
    refused = client.post(f"/jobs/{job.code}/extend/", {"seconds": "3600", "seen_end_s": "3600"})
    assert "This costs ¥1,008 more, and ¥700 of the credit is left." in page_of(refused)
    for bad in ({}, {"seconds": "١", "seen_end_s": "3600"}, {"seconds": "9" * 30, "seen_end_s": "x"}):
        assert "in steps of 15 minutes" in page_of(client.post(f"/jobs/{job.code}/extend/", bad))
    done = client.post(f"/jobs/{job.code}/extend/", {"seconds": "1800", "seen_end_s": "3600"}, follow=True)
    assert "The job may run until 24 Nov 15:30 at the latest." in page_of(done)
    job.refresh_from_db()
    assert (job.time_limit_s, job.cost_cap) == (5400, 1512)
    assert "The provider has not confirmed the last extension yet." in page_of(client.get(f"/jobs/{job.code}/extend/"))


def test_where_the_provider_cannot_the_page_says_so_and_offers_nothing(client_of, member, project):
    job = job_that_can_be_extended(project, member, raises_limits="false")
    job.attempts.update(warned_min=30)
    client = client_of(member, "en")
    page = page_of(client.get(f"/jobs/{job.code}/"))
    assert "cannot change the time limit of a job that runs." in page
    assert f'href="/jobs/{job.code}/extend/"' not in page
    page = page_of(client.get(f"/jobs/{job.code}/extend/"))
    assert "cannot change the time limit of a job that runs. Copy it with a longer one." in page
    assert "seconds" not in page


def test_others_jobs_are_stopped_by_managers_only(client_of, member, manager, viewer, project):
    job = running_job(project, submitted_by=UserFactory())
    assert [client_of(p).post(f"/jobs/{job.code}/stop/").status_code for p in (viewer, member, manager)] == [
        403,
        403,
        302,
    ]


def test_a_copy_is_filled_in_without_secret_values(client_of, member, project, container_plan, cluster_plan, credit):
    form = fields(
        project,
        cluster_plan,
        gpus="2",
        environment="A=1",
        secrets="TOKEN=canary-7731",
        time_amount="3",
        time_unit="hours",
    )
    form |= {"cost_cap": "6000"}
    client = client_of(member, "en")
    client.post("/jobs/new/", form)
    page = page_of(client.get(f"/jobs/new/?copy={Job.objects.get().code}"))
    assert "Secrets are not copied: enter their values again." in page
    for expected in (
        'value="はじめての学習"',
        'value="cluster" checked',
        '<option value="2" selected>',
        'name="time_amount" value="3"',
        'name="cost_cap" value="6000"',
        "A=1",
        "TOKEN=\n",
    ):
        assert expected in page
    assert "canary" not in page


def test_the_form_says_which_registries_have_a_login(client_of, member, project, container_plan):
    for hostname in ("nvcr.io", "ghcr.io"):
        RegistryLoginFactory(organization=project.organization, hostname=hostname)
    RegistryLoginFactory(hostname="quay.io")
    page = client_of(member, language="en").get("/jobs/new/").content.decode()
    assert "Fetched with your organization&#x27;s login: ghcr.io, nvcr.io." in page


def test_other_places_and_new_beginnings_are_quoted_kept_and_shown(
    client_of, member, project, cluster_plan, container_plan, credit
):
    """At the cluster an hour with 4 GPUs is 4,000 yen, and 1,008 at the plan with containers."""
    client = client_of(member, "en")
    container_plan.gpus_max = 8
    container_plan.save()
    asked = {"project": project.code, "offering": "cluster", "gpus": "4", "time_amount": "1", "time_unit": "hours",
             "cost_cap": "4000", "suggested": "4000", "alternatives": "dok-h100", "retries": "1"}  # fmt: skip
    page = page_of(client.get("/jobs/new/quote/", asked, headers=HTMX))
    assert 'value="dok-h100" checked' in page
    assert 'name="cost_cap" value="8000"' in page  # two runs at the dearer place
    assert "It may run up to 2 times, for at most ¥4,000 each time on this plan; every run is charged." in page
    sent = fields(
        project, cluster_plan, gpus="4", cost_cap="8000", alternatives="dok-h100", retries="1", image="python:3.11-slim"
    )
    client.post("/jobs/new/", sent)
    job = Job.objects.get()
    named = [{"slug": "dok-h100", "architecture": "amd64"}]
    assert (job.alternatives, job.retries, job.image) == (named, 1, "python:3.11-slim")
    assert "¥4,000 is set aside, nothing is charged yet" in page_of(client.get(f"/jobs/{job.code}/"))
    config = page_of(client.get(f"/jobs/{job.code}/config/"))
    assert "starts again, up to 1 time" in config and "not used: this plan runs no containers" in config
    copied = page_of(client.get(f"/jobs/new/?copy={job.code}"))
    assert 'value="dok-h100" checked' in copied and '<option value="1" selected>it starts again' in copied


def test_another_plan_stays_ticked_while_the_number_of_gpus_does_not_suit_it(
    client_of, member, project, cluster_plan, container_plan, credit
):
    client = client_of(member, "en")
    asked = {"project": project.code, "offering": "cluster", "time_amount": "1", "time_unit": "hours",
             "cost_cap": "4000", "suggested": "4000"}  # fmt: skip
    ticked, unsuitable = 'value="dok-h100" checked', "Not with this number of GPUs"

    def quoted(**changes):
        return page_of(client.get("/jobs/new/quote/", {**asked, **changes}, headers=HTMX))

    with_one = quoted(gpus="1", alternatives="dok-h100")
    assert ticked in with_one and unsuitable not in with_one
    with_four = quoted(gpus="4", alternatives="dok-h100")
    assert ticked in with_four and unsuitable in with_four
    assert "dok-h100" not in quoted(gpus="4")
    moved = quoted(gpus="8", alternatives="dok-h100")  # eight of the plan chosen before: this one begins with one
    assert ticked in moved and unsuitable not in moved


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alternatives": "nowhere"}, "One of the other plans cannot be used for jobs now. Choose again."),
        ({"alternatives": "dok-h100"}, "The number of GPUs must be 1 on this offering."),
        ({"retries": "4"}, "Choose how often the job starts again, from 0 to 3 times."),
    ],
)
def test_a_place_that_could_never_take_the_job_is_not_kept_as_another(
    client_of, member, project, cluster_plan, container_plan, credit, wrong, said
):
    sent = fields(project, cluster_plan, gpus="4", cost_cap="5000", image="python:3.11-slim", **wrong)
    page = page_of(client_of(member, "en").post("/jobs/new/", sent))
    assert said in page
    assert Job.objects.count() == 0
