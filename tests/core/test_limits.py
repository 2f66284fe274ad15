"""What one person may do in a minute: the rest gets 429 and when to try again."""

from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.test import Client
from redis.exceptions import ConnectionError as CacheAway

from portal.accounts.models import User
from portal.audit.models import AuditEvent
from tests.factories import ArtifactFactory, DataFileFactory, DatasetFactory, JobFactory, ProjectFactory

SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel("2026-11-24T03:00:20Z", tick=False) as traveller:
        yield traveller


@pytest.fixture
def limits(settings: Any) -> dict[str, int]:
    settings.LIMITS = {"submit": 2, "download": 2, "presign": 5}
    return settings.LIMITS  # type: ignore[no-any-return]


def artifact_url(user: User) -> str:
    project = ProjectFactory(organization=user.memberships.get().organization)
    artifact = ArtifactFactory(job=JobFactory(project=project, submitted_by=user))
    return f"/jobs/{artifact.job.code}/artifacts/{artifact.pk}/"


def test_downloads_are_counted_per_person_and_minute(
    member: User, owner: User, limits: dict[str, int], client_of: SignIn, clock: Any
) -> None:
    url = artifact_url(member)
    client = client_of(member)
    assert [client.get(url).status_code for _ in range(3)] == [302, 302, 429]
    refused = client.get(url)
    assert (refused.status_code, refused["Retry-After"]) == (429, "40")
    assert "40秒待ってから、もう一度お試しください。" in refused.content.decode()
    assert client_of(owner).get(url).status_code == 302
    clock.shift(40)
    assert client.get(url).status_code == 302


def test_a_download_is_audited_and_a_refused_one_is_not(
    member: User, limits: dict[str, int], client_of: SignIn
) -> None:
    url = artifact_url(member)
    client = client_of(member)
    for _ in range(3):
        client.get(url)
    code = url.split("/")[2]
    rows = AuditEvent.objects.filter(act="artifact.downloaded").values_list("subject", "actor", "chain")
    assert list(rows) == [(f"job:{code}", f"user:{member.pk}", member.memberships.get().organization.code)] * 2


def test_a_log_and_a_file_are_audited(member: User, client_of: SignIn) -> None:
    project = ProjectFactory(organization=member.memberships.get().organization)
    job = JobFactory(project=project, submitted_by=member)
    file = DataFileFactory(dataset=DatasetFactory(project=project, created_by=member))
    client = client_of(member)
    assert client.get(f"/jobs/{job.code}/log/").status_code == 200
    assert client.get(f"/datasets/files/{file.code}/download/").status_code == 302
    assert list(AuditEvent.objects.order_by("pk").values_list("act", "subject", "detail")) == [
        ("log.downloaded", f"job:{job.code}", {"project": project.code}),
        ("file.downloaded", f"file:{file.code}", {"project": project.code, "name": file.name}),
    ]


def test_the_job_form_may_be_looked_at_more_often_than_sent(
    member: User, project: Any, limits: dict[str, int], client_of: SignIn
) -> None:
    client = client_of(member)
    assert [client.get("/jobs/new/").status_code for _ in range(3)] == [200, 200, 200]
    assert [client.post("/jobs/new/").status_code for _ in range(3)] == [422, 422, 429]


def test_a_batch_counts_as_its_parts(member: User, limits: dict[str, int], client_of: SignIn) -> None:
    project = ProjectFactory(organization=member.memberships.get().organization)
    file = DataFileFactory(
        dataset=DatasetFactory(project=project, created_by=member), state="uploading", sha256="", ready_at=None,
        size_bytes=64 * 1024 * 1024, part_size_bytes=16 * 1024 * 1024, upload_id="u",
    )  # fmt: skip
    parts = "{" + ",".join(f'"{n}": "{"0" * 64}"' for n in (1, 2, 3)) + "}"
    url = f"/datasets/files/{file.code}/parts/"
    answers = [client_of(member).post(url, {"parts": parts}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert (answers[1]["Retry-After"], list(answers[1].json())) == ("40", ["error"])


def test_a_cache_that_is_away_limits_nothing(
    member: User, limits: dict[str, int], client_of: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> int:
        raise CacheAway

    monkeypatch.setattr(cache, "incr", away)
    url = artifact_url(member)
    assert {client_of(member).get(url).status_code for _ in range(5)} == {302}
