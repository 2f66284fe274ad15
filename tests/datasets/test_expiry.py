from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client

from portal.accounts.access import NotPermitted
from portal.accounts.models import Membership, Project, User
from portal.audit.models import AuditEvent
from portal.datasets.expiry import ExpiryRefused, remove_expired, set_last_day, tell
from portal.datasets.models import Dataset, DeletionCertificate
from portal.jobs.models import Job, JobInput
from tests.factories import DataFileFactory, DatasetFactory, JobFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)  # noon in Japan
END = datetime(2027, 1, 31, 15, tzinfo=UTC)  # midnight there, after 31 January
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def dataset(project: Project, member: User) -> Dataset:
    member.language = "en"
    member.save()
    return DatasetFactory(project=project, created_by=member, name="study", expires_at=END)


def told() -> list[str]:
    mails = [f"{sent.to[0]}: {sent.subject}" for sent in mail.outbox]
    mail.outbox.clear()
    return mails


@time_machine.travel(NOW, tick=False)
def test_the_last_day_is_chosen_changed_and_taken_back(project: Project, member: User, viewer: User) -> None:
    dataset = DatasetFactory(project=project)
    for day in (date(2026, 11, 25), date(2027, 1, 31), date(2027, 1, 31), None):
        set_last_day(dataset, day, by=member)
        dataset.refresh_from_db()
        assert dataset.last_day == day
    set_last_day(dataset, date(2027, 1, 31), by=member)
    dataset.refresh_from_db()
    assert (dataset.expires_at, dataset.expires_soon) == (END, False)
    with pytest.raises(ExpiryRefused):
        set_last_day(dataset, date(2026, 11, 24), by=member)
    with pytest.raises(NotPermitted):
        set_last_day(dataset, None, by=viewer)
    days = AuditEvent.objects.filter(act="dataset.expiry_set").values_list("detail__last_day", flat=True)
    assert list(days) == ["2026-11-25", "2027-01-31", None, "2027-01-31"]


def test_people_are_warned_30_7_and_1_days_before_and_then_it_goes(dataset: Dataset, member: User) -> None:
    DataFileFactory(dataset=dataset)
    DatasetFactory(expires_at=None)
    DatasetFactory(expires_at=END, removed_at=NOW)
    subject = f"{member.email}: The dataset “study” is deleted after Sun 31 Jan 2027"
    warned: list[tuple[timedelta, list[str]]] = [
        (30 * DAY + HOUR, []), (30 * DAY, [subject]), (30 * DAY, []), (7 * DAY + HOUR, []), (7 * DAY, [subject]),
        (7 * DAY, []), (DAY + HOUR, []), (DAY, [subject]), (HOUR, []),
    ]  # fmt: skip
    with time_machine.travel(NOW, tick=False):
        for before, mails in warned:
            tell(END - before)
            assert told() == mails, before
    assert [remove_expired(moment) for moment in (END - HOUR, END, END)] == [0, 1, 0]
    certificate = DeletionCertificate.objects.get()
    assert (certificate.dataset, certificate.cause, certificate.by, certificate.reason) == (dataset, "expiry", None, "")
    assert AuditEvent.objects.filter(act="dataset.deleted").values_list("actor", flat=True).get() == "portal:expiry"


def test_nothing_goes_before_its_last_warning_is_a_day_old(dataset: Dataset) -> None:
    """The portal was away over all of the warnings."""
    late = END + 5 * DAY
    before = remove_expired(late)
    tell(late)
    mails = len(told())
    soon, at_last = remove_expired(late + DAY - HOUR), remove_expired(late + DAY)
    assert (before, mails, soon, at_last) == (0, 1, 0, 1)


def test_a_warning_that_was_not_taken_is_sent_again_and_holds_the_deletion(dataset: Dataset, settings: Any) -> None:
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = (
        "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1", 9,
    )  # fmt: skip
    refused = tell(END - DAY)
    settings.EMAIL_BACKEND = backend
    assert (refused, remove_expired(END), tell(END), remove_expired(END + DAY)) == (0, 0, 1, 1)


def test_a_dataset_that_a_job_reads_waits_and_its_page_says_so(
    dataset: Dataset, member: User, client_of: Callable[..., Client]
) -> None:
    file = DataFileFactory(dataset=dataset)
    job = JobFactory(project=dataset.project, state="running")
    JobInput.objects.create(job=job, data_file=file, path=file.path, size_bytes=5, sha256=file.sha256)
    tell(END - DAY)
    waiting = remove_expired(END)
    with time_machine.travel(END, tick=False):
        page = client_of(member, "en").get(f"/datasets/{dataset.code}/").content.decode()
    Job.objects.update(state="succeeded")
    assert (waiting, remove_expired(END + HOUR)) == (0, 1)
    assert "It is deleted when the jobs that read it have ended." in page


def test_a_new_day_begins_the_warnings_anew(dataset: Dataset, member: User) -> None:
    tell(END - DAY)
    with time_machine.travel(NOW, tick=False):
        set_last_day(dataset, date(2027, 12, 31), by=member)
    told()
    assert (tell(END), remove_expired(END), told()) == (0, 0, [])


def test_where_its_maker_is_gone_the_owners_are_told(dataset: Dataset, member: User, owner: User) -> None:
    Membership.objects.filter(user=member).delete()
    tell(END - DAY)
    assert [line.split(":")[0] for line in told()] == [owner.email]


@time_machine.travel(NOW, tick=False)
def test_the_day_is_set_on_a_page(project: Project, member: User, client_of: Callable[..., Client]) -> None:
    dataset = DatasetFactory(project=project)
    client, url = client_of(member, "en"), f"/datasets/{dataset.code}/last-day/"
    answers = [client.post(url, {"last_day": day}) for day in ("never", "2026-11-24", "2026-12-10")]
    page, listed = client.get(f"/datasets/{dataset.code}/").content.decode(), client.get("/datasets/").content.decode()
    assert [answer.status_code for answer in answers] == [422, 422, 302]
    assert "The last day of this dataset is Thu 10 Dec." in page and "until 10 Dec" in listed
    assert 'value="2026-12-10"' in client.get(url).content.decode()
    assert (client.post(url, {"last_day": ""}).status_code, Dataset.objects.get().expires_at) == (302, None)
