from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Membership, Project, User
from portal.audit.models import AuditEvent
from portal.datasets import fetching, storage
from portal.datasets.models import DatasetVersion
from tests.factories import DataFileFactory, DatasetFactory, DatasetVersionFactory

FILES = {"日本 語.csv": "一,二\n".encode(), "train/a b.txt": b"a" * 70_000, 'train/"q".txt': b"", "train/deep/c": b"c"}


@pytest.fixture
def version(project: Project, storage_ready: None) -> DatasetVersion:
    dataset = DatasetFactory(project=project, name="集", folder="集", latest_number=1)
    for number, (name, data) in enumerate(FILES.items()):
        key = f"t/test/fetch-{number}"
        storage.put_bytes(key, data)
        DataFileFactory(
            dataset=dataset, name=name, storage_key=key, size_bytes=len(data), added_in=1,
            sha256=hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
    DataFileFactory(dataset=dataset, name="later")
    return DatasetVersionFactory(dataset=dataset, number=1, file_count=len(FILES))


def token_of(version: DatasetVersion, person: User) -> str:
    return fetching.token_for(version, person, session_of(person))


def session_of(person: User) -> UserSession:
    browser = Client()
    browser.force_login(person)
    key = browser.session.session_key
    return UserSession.objects.update_or_create(session_key=key, defaults={"user": person, "ip": "127.0.0.1"})[0]


def lines(client: Client, token: str, kind: str) -> list[str]:
    answer = client.get(f"/datasets/fetch/{token}/?as={kind}")
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]


@pytest.mark.django_db
def test_each_list_names_every_file_of_the_version(version: DatasetVersion, viewer: User) -> None:
    token, client = token_of(version, viewer), Client()
    ordered = sorted(FILES, key=str.encode)
    urls = lines(client, token, "urls")
    codes = dict(version.dataset.files.values_list("name", "code"))
    assert urls == [f"http://testserver/datasets/fetch/{token}/{codes[name]}/" for name in ordered]
    assert lines(client, token, "sha256") == [f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}" for name in ordered]
    assert lines(client, token, "curl") == [
        line
        for url, name in zip(urls, ['train/\\"q\\".txt', "train/a b.txt", "train/deep/c", "日本 語.csv"], strict=True)
        for line in (f'url = "{url}"', f'output = "{name}"')
    ]
    assert lines(client, token, "aria2")[:3] == [
        urls[0], f"  out={ordered[0]}", f"  checksum=sha-256={hashlib.sha256(FILES[ordered[0]]).hexdigest()}",
    ]  # fmt: skip
    assert client.get(f"/datasets/fetch/{token}/?as=x").status_code == 400
    assert list(AuditEvent.objects.values_list("act", "actor", "detail__as")) == [
        ("version.listed_to_download", f"user:{viewer.pk}", kind) for kind in ("urls", "sha256", "curl", "aria2")
    ]


@pytest.mark.django_db
def test_an_address_leads_to_the_store_for_five_minutes(version: DatasetVersion, viewer: User) -> None:
    token = token_of(version, viewer)
    file = version.dataset.files.get(name="日本 語.csv")
    answer = Client().get(f"/datasets/fetch/{token}/{file.code}/")
    query = parse_qs(urlsplit(answer["Location"]).query)
    assert (answer.status_code, query["X-Amz-Expires"], unquote(query["response-content-disposition"][0])) == (
        302, ["300"], "attachment; filename*=utf-8''日本 語.csv",
    )  # fmt: skip


@pytest.mark.django_db
def test_an_address_ends_with_its_day_and_with_the_right_to_see(version: DatasetVersion, viewer: User) -> None:
    token, client = token_of(version, viewer), Client()
    file = version.dataset.files.get(name="train/deep/c")
    later = version.dataset.files.get(name="later")
    foreign = DataFileFactory(added_in=1)

    def statuses(token: str = token) -> list[int]:
        urls = (f"/datasets/fetch/{token}/?as=urls", f"/datasets/fetch/{token}/{file.code}/")
        return [client.get(url).status_code for url in urls]

    others = [client.get(f"/datasets/fetch/{token}/{other.code}/").status_code for other in (later, foreign)]
    with time_machine.travel(timezone.now() + timedelta(hours=24, minutes=1), tick=False):
        old = statuses()
    forged = statuses(token[:-1] + ("a" if token[-1] != "a" else "b"))
    before = statuses()
    Membership.objects.filter(user=viewer).delete()
    assert (others, old, forged, before, statuses()) == ([404] * 2, [404] * 2, [404] * 2, [200, 302], [404] * 2)


@pytest.mark.django_db
def test_an_address_ends_with_the_session_it_was_made_in_and_with_the_password(
    version: DatasetVersion, viewer: User
) -> None:
    file = version.dataset.files.get(name="train/deep/c")

    def statuses(token: str) -> list[int]:
        urls = (f"/datasets/fetch/{token}/?as=urls", f"/datasets/fetch/{token}/{file.code}/")
        return [Client().get(url).status_code for url in urls]

    session = session_of(viewer)
    signed_out, with_old_password = fetching.token_for(version, viewer, session), token_of(version, viewer)
    before = statuses(signed_out)
    session.end()
    after = statuses(signed_out)
    still = statuses(with_old_password)
    viewer.set_password("another long password 2026")
    viewer.save()
    assert (before, after, still, statuses(with_old_password)) == ([200, 302], [404] * 2, [200, 302], [404] * 2)


@pytest.mark.django_db
def test_a_person_may_fetch_so_many_files_a_minute(
    version: DatasetVersion, viewer: User, settings: Any, time_machine: Any
) -> None:
    time_machine.move_to(timezone.now(), tick=False)  # one minute, not the end of one and the beginning of the next
    settings.LIMITS = {**settings.LIMITS, "fetch": 1}
    token = token_of(version, viewer)
    url = f"/datasets/fetch/{token}/{version.dataset.files.get(name='train/deep/c').code}/"
    answers = [Client().get(url) for _ in range(2)]
    assert ([a.status_code for a in answers], "Retry-After" in answers[1]) == ([302, 429], True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_commands_of_the_page_bring_every_file(
    version: DatasetVersion, viewer: User, client_of: Callable[..., Client], live_server: Any, tmp_path: Path
) -> None:
    page = client_of(viewer).get(f"/datasets/{version.dataset.code}/versions/1/download/", HTTP_HOST="testserver")
    commands = [page.context[name].replace("http://testserver", live_server.url) for name in ("curl", "check")]
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["OK"]), done.stderr
    root = tmp_path / "集-v1"
    assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()} == FILES
