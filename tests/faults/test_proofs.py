"""The list of proofs is complete, and says nothing that is not so."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from types import ModuleType

import pytest

from tests.faults.proofs import PROOFS, PROVIDERS, TESTS, Proof, is_long, told
from tests.faults.test_provider_faults import ALL, FAULTS


def test_each_of_the_25_faults_has_a_proof() -> None:
    assert list(PROOFS) == list(range(1, 26))
    assert [number for number, proof in PROOFS.items() if not proof.acts and not proof.tests] == []


def test_each_act_at_a_provider_proves_one_fault() -> None:
    assert Counter(act for proof in PROOFS.values() for act in proof.acts) == Counter(list(FAULTS))


@pytest.mark.parametrize("proof", [proof for proof in PROOFS.values() if proof.acts], ids=lambda proof: proof.fault)
def test_a_provider_is_left_out_with_a_reason_and_only_where_nothing_runs(proof: Proof) -> None:
    run = {provider for act, provider in ALL if act in proof.acts}
    assert [provider for provider in PROVIDERS if provider in run] == list(proof.at)
    assert all(proof.not_at.values())
    assert {(act, provider) for act, provider in ALL if act in proof.acts} == {(a, p) for a in proof.acts for p in run}


@pytest.mark.parametrize("name", sorted({name for proof in PROOFS.values() for name in proof.tests}))
def test_each_test_that_is_named_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    assert re.search(rf"^def {function}\(", (TESTS / file).read_text(), re.MULTILINE)


def test_each_fault_is_tried_in_every_run_whatever_the_long_set_adds() -> None:
    assert [number for number, proof in PROOFS.items() if proof.in_every_run == 0] == []


@pytest.mark.parametrize("name", sorted({name for proof in PROOFS.values() for name in proof.tests}))
def test_a_test_of_the_long_set_is_told_as_one(name: str) -> None:
    file, _, function = name.partition("::")
    module = import_module(f"tests.{file.removesuffix('.py').replace('/', '.')}")
    marks = [*getattr(getattr(module, function), "pytestmark", ()), *_marks_of(module)]
    assert is_long(name) == ("faults_full" in {mark.name for mark in marks})


def _marks_of(module: ModuleType) -> list[pytest.MarkDecorator]:
    found = getattr(module, "pytestmark", [])
    return found if isinstance(found, list) else [found]


def test_how_many_pairs_there_are_is_told() -> None:
    assert told()[-1] == "67 pairs of fault and provider; 8 of 75 make no sense"
