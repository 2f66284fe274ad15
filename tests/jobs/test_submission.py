from __future__ import annotations

from datetime import date

import pytest
from django.utils import timezone, translation

from portal.accounts.access import NotPermitted
from portal.audit.models import AuditEvent
from portal.audit.verification import verify as verify_audit
from portal.billing.holds import OverBudget
from portal.billing.models import Hold
from portal.catalog.models import Offering, Price, ProviderAccount
from portal.datasets.models import DatasetShare
from portal.jobs.attaching import words_of
from portal.jobs.models import Attempt, Job, JobEvent, SubmitKey
from portal.jobs.places import Refused
from portal.jobs.request import Attached
from portal.jobs.submission import submit
from tests.factories import (
    DataFileFactory,
    DatasetFactory,
    DatasetShareFactory,
    DatasetVersionFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    RegistryLoginFactory,
)


def nothing_stored() -> bool:
    return (
        Job.objects.count(),
        Hold.objects.count(),
        SubmitKey.objects.count(),
        AuditEvent.objects.filter(act="job.submitted").count(),
    ) == (0, 0, 0, 0)


def test_submit_stores_all_in_one(funded, member, account, offering, request_for) -> None:
    file = DataFileFactory(dataset=DatasetFactory(project=funded, folder="texts"), name="words.txt")
    job = submit(
        funded,
        request=request_for(inputs=(file,), secrets={"TOKEN": "canary"}, environment={"A": "1"}),
        key="k",
        by=member,
    )
    stored = Job.objects.get()
    assert (stored.state, stored.cost_cap, stored.secret_names, stored.environment) == (
        "submitted",
        500,
        ["TOKEN"],
        {"A": "1"},
    )
    assert "canary" not in str(list(Job.objects.values())) + str(list(AuditEvent.objects.values()))
    assert list(stored.inputs.values_list("path", "size_bytes", "sha256")) == [("texts/words.txt", 5, file.sha256)]
    assert [(a.state, a.number, a.account) for a in Attempt.objects.filter(job=job)] == [("intended", 1, account)]
    assert list(JobEvent.objects.values_list("kind", "after", "reason", "by")) == [
        ("state", "submitted", "submitted", f"user:{member.pk}")
    ]
    assert Hold.objects.get(job_code=job.code).amount == 500
    assert AuditEvent.objects.filter(act="job.submitted", subject=f"job:{job.code}").count() == 1
    assert list(verify_audit()) == []


def test_the_hold_is_never_more_than_the_job_can_cost(funded, member, account, request_for) -> None:
    job = submit(funded, request=request_for(cost_cap=9000), key="k", by=member)
    assert Hold.objects.get(job_code=job.code).amount == 1008


def test_the_same_form_again_is_the_same_job(funded, member, account, request_for) -> None:
    first = submit(funded, request=request_for(), key="k", by=member)
    assert submit(funded, request=request_for(), key="k", by=member) == first
    assert (Job.objects.count(), Hold.objects.count()) == (1, 1)


def test_the_same_key_with_other_contents_is_refused(funded, member, account, request_for) -> None:
    submit(funded, request=request_for(), key="k", by=member)
    with pytest.raises(Refused):
        submit(funded, request=request_for(command="rm"), key="k", by=member)
    assert Job.objects.count() == 1


def test_roles_that_may_not_submit(funded, viewer, billing, stranger, account, request_for) -> None:
    for person in (viewer, billing, stranger):
        with pytest.raises(NotPermitted):
            submit(funded, request=request_for(), key="k", by=person)
    assert nothing_stored()


def test_a_project_closed_between_view_and_submit(funded, member, account, request_for) -> None:
    type(funded).objects.filter(pk=funded.pk).update(closed_at=timezone.now())
    with pytest.raises(Refused):
        submit(funded, request=request_for(), key="k", by=member)
    assert nothing_stored()


def test_offerings_that_take_no_job(funded, member, account, offering, request_for) -> None:
    for change in (
        {"active": False},
        {"adapter": ""},
        {"on_request": True},
        {"ends_on": date(2026, 1, 1)},
        {"containers": True},
        {"kind": "vm"},
    ):
        before = {name: getattr(offering, name) for name in change}
        Offering.objects.filter(pk=offering.pk).update(**change)
        with pytest.raises(Refused):
            submit(funded, request=request_for(), key="k", by=member)
        Offering.objects.filter(pk=offering.pk).update(**before)
    Price.objects.update(valid_to=timezone.now())
    with pytest.raises(Refused):
        submit(funded, request=request_for(), key="k", by=member)
    assert nothing_stored()


def test_nobody_runs_the_offering(funded, member, account, request_for) -> None:
    ProviderAccount.objects.update(active=False)
    with pytest.raises(Refused):
        submit(funded, request=request_for(), key="k", by=member)
    assert nothing_stored()


def test_an_organizations_own_account_is_used_before_the_pool(funded, member, account, offering, request_for) -> None:
    own = ProviderAccountFactory(provider=offering.provider, organization=funded.organization)
    job = submit(funded, request=request_for(), key="k", by=member)
    assert job.attempts.get().account == own


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"gpus": 2}, "gpus"),
        ({"time_limit_s": 59}, "time_limit"),
        ({"time_limit_s": 10**9}, "time_limit"),
        ({"cost_cap": 16}, "cost_cap"),
    ],
)
def test_limits_are_refused_with_the_field_they_are_about(funded, member, account, request_for, change, field) -> None:
    with pytest.raises(Refused) as refused:
        submit(funded, request=request_for(**change), key="k", by=member)
    assert (refused.value.field, str(refused.value.message) != "") == (field, True)
    assert nothing_stored()


def test_more_than_the_credit_is_over_budget(funded, member, account, request_for) -> None:
    with pytest.raises(OverBudget):
        submit(funded, request=request_for(time_limit_s=86_400, cost_cap=10_001), key="k", by=member)
    assert nothing_stored()


def test_files_of_others_or_unfinished_ones_are_not_there(funded, member, account, request_for, organization) -> None:
    other = DataFileFactory(dataset=DatasetFactory(project=ProjectFactory(organization=organization)))
    unfinished = DataFileFactory(dataset=DatasetFactory(project=funded), state="uploading", ready_at=None, sha256="")
    for file in (other, unfinished):
        with pytest.raises(Refused):
            submit(funded, request=request_for(inputs=(file,)), key="k", by=member)
    assert nothing_stored()


def test_shared_files_are_within_reach_until_the_share_ends_and_jobs_keep_them(
    funded, member, account, request_for
) -> None:
    share = DatasetShareFactory(to_project=funded)
    file = DataFileFactory(dataset=share.dataset)
    job = submit(funded, request=request_for(inputs=(file,)), key="k", by=member)
    DatasetShare.objects.update(ended_at=timezone.now())
    with pytest.raises(Refused):
        submit(funded, request=request_for(inputs=(file,)), key="later", by=member)
    assert list(job.inputs.values_list("data_file", "path", "sha256")) == [(file.pk, file.path, file.sha256)]


def test_two_files_of_one_path_are_refused(funded, member, account, request_for) -> None:
    own = DataFileFactory(dataset=DatasetFactory(project=funded, folder="texts"), name="a.txt")
    shared = DataFileFactory(dataset=DatasetFactory(folder="texts"), name="a.txt")
    DatasetShareFactory(dataset=shared.dataset, to_project=funded)
    with pytest.raises(Refused, match="同じパス"):
        submit(funded, request=request_for(inputs=(own, shared)), key="k", by=member)
    assert nothing_stored()


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_down_is_not_noticed(funded, member, account, request_for, monkeypatch) -> None:
    from portal import celery

    monkeypatch.setattr(celery.settings, "BROKER_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setattr(celery.app.conf, "broker_url", "redis://127.0.0.1:9/0")
    celery._publishers.cache_clear()
    try:
        assert submit(funded, request=request_for(), key="k", by=member).state == "submitted"
        assert celery.publish(celery.app.tasks["jobs.hand_off"], account.pk) is False
    finally:
        celery._publishers.cache_clear()
        monkeypatch.setattr(celery, "_quiet_until", 0.0)


def test_an_image_that_may_be_private_is_refused_where_no_login_can_be_used(
    funded, member, offering, request_for
) -> None:
    ProviderAccountFactory(provider=offering.provider, kind="slurm_rest")
    Offering.objects.filter(pk=offering.pk).update(adapter="slurm_rest", containers=True)
    RegistryLoginFactory(organization=funded.organization, hostname="ghcr.io")
    with pytest.raises(Refused) as refused:
        submit(funded, request=request_for(image="ghcr.io/team/train:1"), key="k", by=member)
    with translation.override("en"):
        said = str(refused.value.message).split(",")[0]
    assert (refused.value.field, said, nothing_stored()) == ("image", "Your organization has a login for ghcr.io", True)
    submit(funded, request=request_for(image="quay.io/team/train:1"), key="k", by=member)
    assert Job.objects.get().image == "quay.io/team/train:1"


def test_a_price_that_nobody_was_shown_is_not_paid(funded, member, account, offering, request_for) -> None:
    other = PriceFactory(offering=OfferingFactory(provider=offering.provider))
    shown, there = offering.prices.get().pk, other.pk
    for seen in (set(), {there}, {shown}):
        request = request_for(alternatives=(other.offering,), seen_prices=frozenset(seen))
        with pytest.raises(Refused, match="このプランの料金が変わりました"):
            submit(funded, request=request, key="k", by=member)
        assert nothing_stored()
    both = request_for(alternatives=(other.offering,), seen_prices=frozenset({shown, there}))
    job = submit(funded, request=both, key="k", by=member)
    # Sent again by its browser after the price has changed once more, it is still that job.
    late = request_for(alternatives=(other.offering,), seen_prices=frozenset())
    assert submit(funded, request=late, key="k", by=member) == job


def test_a_version_is_read_whole_and_written_down(funded, member, account, request_for) -> None:
    dataset = DatasetFactory(project=funded, name="本文", folder="texts", latest_number=1)
    a, b = (DataFileFactory(dataset=dataset, name=name, added_in=1) for name in ("a.txt", "deep/b.txt"))
    DataFileFactory(dataset=dataset, name="later.txt")
    version = DatasetVersionFactory(dataset=dataset, number=1, file_count=2, size_bytes=10)
    loose = DataFileFactory(dataset=DatasetFactory(project=funded, folder="alone"), name="c.txt")
    asked = request_for(attached=(Attached(version),), inputs=(loose,))
    job = submit(funded, request=asked, key="k", by=member)

    assert list(job.inputs.order_by("path").values_list("path", "data_file", "sha256", "size_bytes")) == [
        ("alone/c.txt", loose.pk, loose.sha256, 5),
        ("texts/a.txt", a.pk, a.sha256, 5),
        ("texts/deep/b.txt", b.pk, b.sha256, 5),
    ]
    job.refresh_from_db()
    whole = {
        "dataset": dataset.code, "name": "本文", "folder": "texts", "number": 1, "files": 2, "size_bytes": 10,
        "manifest_sha256": version.manifest_sha256, "all": True,
    }  # fmt: skip
    assert job.datasets == [whole, {"dataset": "", "files": 1, "size_bytes": 5}]
    assert words_of(job) == ([f"{dataset.code}@1", loose.code], [f"{dataset.code}@1"])
    assert submit(funded, request=asked, key="k", by=member) == job
    with pytest.raises(Refused):
        submit(funded, request=request_for(attached=(Attached(version, (a,)),), inputs=(loose,)), key="k", by=member)


def test_chosen_files_alone_are_read(funded, member, account, request_for) -> None:
    version = DatasetVersionFactory(dataset__project=funded, number=1, file_count=2)
    a, _b = (DataFileFactory(dataset=version.dataset, name=name, added_in=1) for name in "ab")
    job = submit(funded, request=request_for(attached=(Attached(version, (a,)),)), key="k", by=member)
    assert list(job.inputs.values_list("data_file", flat=True)) == [a.pk]
    assert [(one["number"], one["files"], one["all"]) for one in job.datasets] == [(1, 1, False)]
    assert words_of(job) == ([a.code], [f"{version.dataset.code}@1"])


def test_versions_of_others_or_too_many_files_are_refused(funded, member, account, request_for, monkeypatch) -> None:
    foreign = DatasetVersionFactory(number=1, file_count=1)
    DataFileFactory(dataset=foreign.dataset, added_in=1)
    making = DatasetVersionFactory(dataset__project=funded, number=1, state="making", file_count=1)
    DataFileFactory(dataset=making.dataset, added_in=1)
    short = DatasetVersionFactory(dataset__project=funded, number=1, file_count=2)
    DataFileFactory(dataset=short.dataset, added_in=1)
    large = DatasetVersionFactory(dataset__project=funded, number=1, file_count=10_001)
    said = []
    for version in (foreign, making, short, large):
        with translation.override("en"), pytest.raises(Refused) as refused:
            submit(funded, request=request_for(attached=(Attached(version),)), key="k", by=member)
        with translation.override("en"):
            said.append((refused.value.field, str(refused.value.message)))
    assert said == [
        *[("inputs", "An input file is no longer there. Choose the input again.")] * 3,
        (
            "inputs",
            "A job can read up to 10,000 files; these are 10,001. Choose fewer, or pack them into one file.",
        ),
    ]
    assert nothing_stored()
