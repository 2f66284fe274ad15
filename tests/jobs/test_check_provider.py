"""`manage.py check_provider SLUG`: the promises, with a stored account and the portal's own store."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from portal.catalog.models import Provider, ProviderAccount
from portal.catalog.seed import load
from tests.factories import OrganizationFactory, ProviderAccountFactory
from tests.providers.emulated import Emulator, emulator


def stored(running: Emulator, slug: str) -> ProviderAccount:
    provider = Provider.objects.get(slug=slug)
    account = ProviderAccountFactory(
        provider=provider, kind=running.kind, endpoint=running.account.endpoint, options=dict(running.account.options),
        emulated=True,
    )  # fmt: skip
    account.set_credentials(dict(running.account.credentials))
    account.save()
    return account


def check(*arguments: str) -> str:
    said = io.StringIO()
    call_command("check_provider", *arguments, stdout=said)
    return said.getvalue()


@pytest.fixture(autouse=True)
def catalog(db: None, storage_ready: None) -> None:
    load(demo=True)


def test_what_is_held_is_told_with_its_evidence(tmp_path: Path) -> None:
    with emulator("slurm_rest") as running:
        account = stored(running, "kddi")
        said = check("kddi", "--only", "log_has_standard", "--json", str(tmp_path / "found.json"))
    assert "held        The log has standard output and errors." in said
    assert f"1 held, 0 broken, 0 not offered: 100 % of what is offered.\nEvidence: {tmp_path}/found.json" in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["account"], found["offering"], found["score"]["held"]) == (str(account), "demo-gb200", 1)


def test_jobs_are_as_large_as_the_plan_is_sold_and_on_as_many_machines(tmp_path: Path) -> None:
    with emulator("slurm_rest") as running:
        stored(running, "kddi")
        check("kddi", "--only", "a_waiting_job_that_is_ended", "--json", str(tmp_path / "waiting.json"))
        said = check("kddi", "--only", "further_gpu", "--json", str(tmp_path / "more.json"))
    assert json.loads((tmp_path / "waiting.json").read_text())["score"] == {
        "held": 2, "broken": 0, "not_offered": 0, "percent": 100,
    }  # fmt: skip
    assert "held        Each further gpu is counted." in said
    assert "8 GPUs: " in said


def test_a_sentence_of_the_table_chooses_its_promise(tmp_path: Path) -> None:
    with emulator("slurm_rest") as running:
        stored(running, "kddi")
        said = check("kddi", "--only", "A key that made nothing finds nothing.", "--json", str(tmp_path / "found.json"))
    assert ": 1 promises\n" in said and "held        A key that made nothing finds nothing." in said


def test_an_organizations_own_account_is_checked_when_it_is_named(tmp_path: Path) -> None:
    with emulator("slurm_rest") as running:
        own = stored(running, "kddi")
        own.organization = OrganizationFactory()
        own.save()
        code, only = str(own.organization.code), ("--only", "made_nothing", "--json", str(tmp_path / "found.json"))
        with pytest.raises(CommandError) as refused:
            check("kddi", *only)
        shared = ProviderAccountFactory(provider=own.provider, kind="slurm_rest", endpoint="http://127.0.0.1:9")
        with pytest.raises(CommandError) as others:
            check("kddi", *only, "--organization", "o-none")
        said = check("kddi", *only, "--organization", code)
    assert str(refused.value) == (
        f"There is no active account at kddi. Organizations have their own: choose with --organization {code}."
    )
    assert str(others.value) == (
        "There is no active account of o-none at kddi. manage.py add_provider_account makes one."
    )
    assert said.startswith(f"{own} at KDDI") and str(shared) not in said


def test_what_was_found_before_somebody_stopped_it_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "found.json"

    class Impatient(io.StringIO):
        def flush(self) -> None:
            raise KeyboardInterrupt

    with emulator("slurm_rest") as running:
        stored(running, "kddi")
        with pytest.raises(CommandError, match=f"Stopped after 1 of [0-9]+ promises. Evidence: {file}") as stopped:
            call_command("check_provider", "kddi", "--only", "finding", "--json", str(file), stdout=Impatient())
    found = json.loads(file.read_text())
    assert (stopped.value.returncode, len(found["promises"]), found["stopped_after"][:5]) == (130, 1, "1 of ")


def test_what_is_broken_ends_with_1_and_its_evidence(tmp_path: Path) -> None:
    with emulator("slurm_ssh", "--defect", "exit_codes_are_0") as running:
        stored(running, "highreso")
        with pytest.raises(CommandError, match=r"1 broken:\n.*A program that exits with 3 failed with 3") as problem:
            check("highreso", "--only", "exits_with_3", "--json", str(tmp_path / "found.json"))
    assert problem.value.returncode == 1
    assert json.loads((tmp_path / "found.json").read_text())["score"] == {
        "held": 0, "broken": 1, "not_offered": 0, "percent": 0,
    }  # fmt: skip


def test_what_a_check_has_submitted_is_deleted_where_the_provider_can(tmp_path: Path) -> None:
    with emulator("sakura_dok") as running:
        stored(running, "sakura")
        check("sakura", "--only", "exits_with_3", "--json", str(tmp_path / "found.json"))
        left = running.adapter().list_jobs("jga-check-", since=datetime.now(UTC) - timedelta(hours=1))
        assert list(left) == []
    assert json.loads((tmp_path / "found.json").read_text())["score"]["held"] == 1


def test_of_two_copies_at_dok_the_portal_lets_one_run(tmp_path: Path, live_server: Any, settings: Any) -> None:
    settings.MACHINES_URL = live_server.url
    with emulator("sakura_dok", "--running", "2") as running:
        stored(running, "sakura")
        said = check("sakura", "--only", "of_two_copies", "--json", str(tmp_path / "found.json"))
    assert "held        Of two copies of a job one runs." in said
    assert "one ran, the other ended at once with 98" in said


def test_where_machines_cannot_ask_the_portal_copies_are_not_tried(tmp_path: Path, settings: Any) -> None:
    settings.MACHINES_URL = ""
    with emulator("sakura_dok") as running:
        stored(running, "sakura")
        check("sakura", "--only", "of_two_copies", "--json", str(tmp_path / "found.json"))
    (found,) = json.loads((tmp_path / "found.json").read_text())["promises"]
    assert (found["result"], found["evidence"]) == (
        "not offered",
        "each copy has a disk of its own, and there is no portal here for them to ask",
    )


def test_where_the_evidence_cannot_be_written_no_job_is_begun(tmp_path: Path) -> None:
    wrong = {tmp_path / "no" / "found.json": "No such file or directory", tmp_path: "Is a directory"}
    with emulator("slurm_rest") as running:
        stored(running, "kddi")
        for file, reason in wrong.items():
            with pytest.raises(CommandError, match=f"{file} cannot be written: {reason}."):
                check("kddi", "--only", "log_has_standard", "--json", str(file))
        began = list(running.adapter().list_jobs("jga-check-", since=datetime.now(UTC) - timedelta(hours=1)))
    assert (began, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "There is no active account at nobody."),
        (["kddi", "--plan", "dok-h100"], "no priced job offering for this account named dok-h100"),
        (["kddi", "--only", "elephants"], "No promise has 'elephants' in its area, name or sentence."),
        (["kddi", "--kind", "nope"], "There is no kind nope. Kinds: sakura_dok, slurm_rest, slurm_ssh."),
        (["kddi", "--kind", "slurm_ssh"], "There is no active account at kddi of the kind slurm_ssh. manage.py add"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(arguments: list[str], sentence: str) -> None:
    account = ProviderAccountFactory(provider=Provider.objects.get(slug="kddi"), kind="slurm_rest")
    account.set_credentials({"user": "a", "token": "b"})
    account.save()
    with pytest.raises(CommandError, match=sentence):
        check(*arguments)
