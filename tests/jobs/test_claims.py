"""One attempt, one copy of it that may run: over the address that a machine has, and in the hand-off."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from portal.jobs import claims
from portal.jobs.claims import Answer
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job
from portal.jobs.staging import prepare
from portal.providers.base import RemoteState
from portal.providers.errors import OutcomeUnknown
from tests.factories import AttemptFactory
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider
from tests.jobs.test_staging import manifest_of

COPY, OTHER = "0d5f7a52-5a1b-4c56-9d3c-2d6b6f5c1a01", "0d5f7a52-5a1b-4c56-9d3c-2d6b6f5c1a02"


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.MACHINES_URL = "https://portal.example.jp"


@pytest.fixture
def attempt(db: None) -> Attempt:
    return AttemptFactory(state="sending")


def path_of(attempt: Attempt) -> str:
    return claims.address_of(attempt).removeprefix("https://portal.example.jp")


def claimed(attempt: Attempt) -> tuple[str, str, bool]:
    attempt.refresh_from_db()
    return attempt.claimed_by, attempt.claimed_remote_id, attempt.claimed_at is not None


# --- the address -----------------------------------------------------------------------------------------------------


def test_the_first_copy_may_run_and_the_second_may_not(attempt: Attempt) -> None:
    client = Client(enforce_csrf_checks=True)  # as a machine: no cookie, no token of a form
    asked = [{"copy": COPY, "remote_id": "r1"}, {"copy": OTHER, "remote_id": "r2"}, {"copy": COPY, "remote_id": "r1"}]
    answers = [client.post(path_of(attempt), form) for form in asked]
    assert [(answer.status_code, answer.content) for answer in answers] == [
        (200, b"yours\n"),
        (409, b"taken\n"),
        (200, b"yours\n"),  # its first answer was lost
    ]
    assert claimed(attempt) == (COPY, "r1", True)
    assert [(a["Content-Type"], a["Cache-Control"], a.cookies) for a in answers] == [
        ("text/plain; charset=utf-8", "private, no-store", {})
    ] * 3


@pytest.mark.parametrize("changes", [{"state": "ended"}, {"job__stop_requested_at": timezone.now()}])
def test_what_is_over_is_not_begun(db: None, changes: dict[str, Any], client: Client) -> None:
    attempt = AttemptFactory(**changes)
    answer = client.post(path_of(attempt), {"copy": COPY})
    assert (answer.status_code, answer.content, claimed(attempt)) == (410, b"over\n", ("", "", False))


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"copy": ""},
        {"copy": "short"},
        {"copy": "x" * 65},
        {"copy": f"{COPY}\n"},
        {"copy": f"{COPY}\0"},
        {"copy": "一" * 20},
        {"copy": "' OR 1=1; DROP TABLE x"},
        {"copy": COPY, "remote_id": "r 1"},
        {"copy": COPY, "remote_id": "r1\n"},
        {"copy": COPY, "remote_id": "x" * 101},
    ],
)
def test_a_malformed_question_changes_nothing(attempt: Attempt, form: dict[str, str], client: Client) -> None:
    answer = client.post(path_of(attempt), form)
    assert (answer.status_code, claimed(attempt)) == (400, ("", "", False))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe\0" * 100, "application/x-www-form-urlencoded"),
        (b"copy=" + b"a" * 5_000_000, "application/x-www-form-urlencoded"),
        (b'{"copy": 1}', "application/json"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
    ],
)
def test_a_body_that_is_no_form_changes_nothing(attempt: Attempt, body: bytes, kind: str, client: Client) -> None:
    answer = client.generic("POST", path_of(attempt), body, content_type=kind)
    assert (answer.status_code in (400, 413), claimed(attempt)) == (True, ("", "", False))


def test_a_token_that_we_did_not_make_is_unknown_without_a_question_to_the_database(
    attempt: Attempt, client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    good = path_of(attempt).split("/")[3]
    code, _, signature = good.partition(":")
    other = AttemptFactory(account=attempt.account)
    with django_assert_num_queries(0):
        answers = [
            client.post(f"/machine/claims/{token}/", {"copy": COPY})
            for token in (code, f"{code}:", f"{code}:{signature[:-1]}", f"{other.code}:{signature}", f"{good}x", "一")
        ]
    assert [(answer.status_code, answer.content) for answer in answers] == [(404, b"unknown\n")] * 6
    assert claimed(attempt) == ("", "", False)


def test_only_a_post_claims(attempt: Attempt, client: Client) -> None:
    assert [getattr(client, m)(path_of(attempt)).status_code for m in ("get", "head", "put", "delete")] == [405] * 4
    assert claimed(attempt) == ("", "", False)


def test_a_claim_survives_a_change_of_keys(attempt: Attempt, client: Client, settings: Any) -> None:
    path = path_of(attempt)
    settings.CREDENTIALS_KEYS = ["bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=", *settings.CREDENTIALS_KEYS]
    assert path_of(attempt) != path
    assert [client.post(one, {"copy": COPY}).status_code for one in (path, path_of(attempt))] == [200, 200]
    settings.CREDENTIALS_KEYS = settings.CREDENTIALS_KEYS[:1]
    assert client.post(path, {"copy": COPY}).status_code == 404


def test_the_token_is_in_no_log(attempt: Attempt, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    from portal.core.logs import without_link_tokens

    for form in ({"copy": COPY}, {"copy": OTHER}, {}):
        client.post(path_of(attempt), form)
    signature = path_of(attempt).partition(":")[2].rstrip("/")
    lines = [str(without_link_tokens(None, "", {"event": record.getMessage()})) for record in caplog.records]
    assert lines and not [line for line in lines if signature in line]


@pytest.mark.django_db(transaction=True)
def test_of_twenty_copies_at_once_one_may_run() -> None:
    attempt = AttemptFactory()

    def ask(number: int) -> Answer | None:
        try:
            return claims.claim(attempt.code, copy=f"{number:036}", remote_id=f"r{number}")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(20)))
    assert sorted(answer.name for answer in answers if answer) == ["TAKEN"] * 19 + ["YOURS"]
    winner = answers.index(Answer.YOURS)
    assert claimed(attempt) == (f"{winner:036}", f"r{winner}", True)


# --- of a check ------------------------------------------------------------------------------------------------------


def test_the_first_copy_of_a_checks_job_may_run_and_each_job_has_its_own_claim() -> None:
    client = Client(enforce_csrf_checks=True)
    one, other = (
        claims.address_of_check(f"checks.{uuid4()}.claim").removeprefix("https://portal.example.jp") for _ in range(2)
    )
    asked = [(one, COPY), (one, OTHER), (one, COPY), (other, OTHER)]
    answers = [client.post(path, {"copy": copy}) for path, copy in asked]
    assert [answer.status_code for answer in answers] == [200, 409, 200, 200]


def test_a_check_has_no_address_where_machines_cannot_ask(settings: Any) -> None:
    settings.MACHINES_URL = ""
    assert claims.address_of_check("checks.1.claim") == ""


# --- in the hand-off -------------------------------------------------------------------------------------------------


def test_the_manifest_holds_the_address_where_copies_share_no_disk(attempt: Attempt, storage_ready: None) -> None:
    apart, together = FakeProvider(), FakeProvider()
    together.shares_disk = True
    addresses = []
    for adapter in (apart, together):
        spec = prepare(attempt, adapter, key="k")
        addresses.append(manifest_of(attempt).get("claim"))
        assert "machine/claims" not in str(spec)
    assert addresses == [[[claims.address_of(attempt)]], None]


def test_without_an_address_for_machines_nobody_is_asked(attempt: Attempt, storage_ready: None, settings: Any) -> None:
    settings.MACHINES_URL = ""
    prepare(attempt, FakeProvider(), key="k")
    assert "claim" not in manifest_of(attempt)


def test_only_the_job_that_was_adopted_may_run(db: None) -> None:
    attempt = AttemptFactory(state="accepted", remote_id="r2")
    asked = [("r1", OTHER), ("r2", COPY), ("r1", OTHER)]
    answers = [claims.claim(attempt.code, copy=copy, remote_id=remote_id) for remote_id, copy in asked]
    assert (answers, claimed(attempt)) == ([Answer.TAKEN, Answer.YOURS, Answer.TAKEN], (COPY, "r2", True))


def test_a_copy_that_knows_no_id_may_run_when_it_is_first(db: None) -> None:
    attempt = AttemptFactory(state="accepted", remote_id="r2")
    answers = [claims.claim(attempt.code, copy=copy, remote_id="") for copy in (COPY, OTHER)]
    assert answers == [Answer.YOURS, Answer.TAKEN]


def test_where_a_job_may_not_know_its_id_the_first_to_ask_runs(db: None) -> None:
    attempt = AttemptFactory(state="accepted", remote_id="r2", account__options={})
    answers = [claims.claim(attempt.code, copy=copy, remote_id="another-name") for copy in (COPY, OTHER)]
    attempt.refresh_from_db()
    assert (answers, attempt.claimed_remote_id) == ([Answer.YOURS, Answer.TAKEN], "")


def test_a_job_that_did_not_claim_cannot_be_adopted(attempt: Attempt) -> None:
    claims.claim(attempt.code, copy=COPY, remote_id="r1")
    with pytest.raises(IntegrityError), transaction.atomic():
        Attempt.objects.filter(pk=attempt.pk).update(remote_id="r2")


def test_of_two_jobs_with_one_key_the_one_that_runs_is_adopted(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    provider.add(key_of(attempt_of(job)))
    claims.claim(attempt_of(job).code, copy=COPY, remote_id="r2")
    steps.pass_time(5)
    steps.hand_off()
    assert (attempt_of(job).remote_id, provider.cancelled) == ("r2", ["r1"])


def test_what_runs_but_is_not_listed_is_not_sent_again(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    provider.hidden = True
    claims.claim(attempt_of(job).code, copy=COPY, remote_id="r1")
    for _ in range(10):
        steps.pass_time(600)
        steps.hand_off()
    assert (attempt_of(job).state, len(provider.jobs)) == ("unknown", 1)
    provider.hidden = False
    steps.pass_time(10)
    assert (steps.hand_off().accepted, attempt_of(job).remote_id) == (1, "r1")


def test_what_is_missing_for_a_day_is_sent_again_and_does_not_run_twice(
    job: Job, steps: Steps, provider: FakeProvider
) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    claims.claim(attempt_of(job).code, copy=COPY, remote_id="")
    provider.jobs.clear()
    steps.pass_time(24 * 3600)
    for _ in range(4):
        steps.pass_time(600)
        steps.hand_off()
    assert (attempt_of(job).state, len(provider.jobs)) == ("accepted", 1)
    assert claims.claim(attempt_of(job).code, copy=OTHER, remote_id="r1") == Answer.TAKEN


def test_a_late_first_copy_that_runs_wins_over_the_answer_of_the_second(
    job: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request was thought lost; it lands and claims while the second is on its way."""
    provider.before = [OutcomeUnknown("time-out")]
    steps.hand_off()
    submit = provider.submit

    def late(spec: Any) -> Any:
        first = provider.add(spec.key)
        claims.claim(attempt_of(job).code, copy=COPY, remote_id=first.remote_id)
        return submit(spec)

    monkeypatch.setattr(provider, "submit", late)
    for _ in range(6):
        steps.pass_time(120)
        steps.hand_off()
    assert (attempt_of(job).remote_id, attempt_of(job).state) == ("r1", "accepted")
    assert (len(provider.jobs), provider.cancelled) == (2, ["r2"])
    assert claims.claim(attempt_of(job).code, copy=OTHER, remote_id="r2") == Answer.TAKEN


def test_a_job_that_its_provider_starts_anew_was_interrupted(job: Job, steps: Steps, provider: FakeProvider) -> None:
    """Its second beginning is turned away with 98; the portal itself made no mistake."""
    steps.hand_off()
    claims.claim(attempt_of(job).code, copy=COPY, remote_id="r1")
    assert claims.claim(attempt_of(job).code, copy=OTHER, remote_id="r1") == Answer.TAKEN
    provider.becomes(RemoteState.FAILED, exit_code=98, started_at=timezone.now(), ended_at=timezone.now())
    steps.track()
    steps.collect()
    assert (fresh(job).state, fresh(job).failure, fresh(job).exit_code) == ("failed", "interrupted", None)
