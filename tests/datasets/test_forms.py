from __future__ import annotations

import json

import pytest

from portal.accounts.models import Project
from portal.datasets.forms import PARTS_AT_ONCE, BeginForm, CompleteForm, PartsForm, PlainForm
from portal.datasets.models import Dataset
from portal.datasets.uploading import FileToSend

DIGEST = "0a" * 32


def test_what_the_browser_says_of_a_file() -> None:
    said = {
        "name": " 売上.csv ", "size": "7", "content_type": "text/csv", "last_modified": "1795000000000",
        "fingerprint": DIGEST, "sha256": DIGEST, "dataset_name": "  売上   2026 ",
    }  # fmt: skip
    form = BeginForm(said)
    assert form.is_valid()
    assert form.sent == FileToSend(
        name="売上.csv",
        size_bytes=7,
        content_type="text/csv",
        last_modified_ms=1_795_000_000_000,
        fingerprint=DIGEST,
        sha256=DIGEST,
    )
    assert form.cleaned_data["dataset_name"] == "売上 2026"


def test_a_name_and_a_size_are_enough() -> None:
    form = BeginForm({"name": "a", "size": "0"})
    assert form.is_valid()
    assert form.sent == FileToSend("a", 0, "", 0, "", "")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("text/plain", "text/plain"),
        ("application/vnd.ms-excel.sheet+xml", "application/vnd.ms-excel.sheet+xml"),
        ("text/html; charset=utf-8", ""),
        ("text/ht\nml", ""),
        ("plain", ""),
        ("テキスト/html", ""),
    ],
)
def test_a_kind_that_is_none_is_left_out(kind: str, kept: str) -> None:
    form = BeginForm({"name": "a", "size": "1", "content_type": kind})
    assert (form.is_valid(), form.cleaned_data["content_type"]) == (True, kept)


@pytest.mark.parametrize(("size", "is_fine"), [(5 * 2**40, True), (5 * 2**40 + 1, False), (-1, False)])
def test_a_file_has_up_to_five_tebibytes(size: int, is_fine: bool) -> None:
    assert BeginForm({"name": "a", "size": str(size)}).is_valid() is is_fine


@pytest.mark.parametrize("digest", [DIGEST.upper(), DIGEST[:-1], DIGEST + "0", "x" * 64, ""])
def test_a_checksum_is_64_small_hexadecimal_digits(digest: str) -> None:
    forms = CompleteForm({"parts_sha256": digest}), PartsForm({"parts": json.dumps({"1": digest})})
    assert [form.is_valid() for form in (*forms, CompleteForm({"parts_sha256": DIGEST}))] == [False, False, True]


def test_parts_are_numbers_with_their_checksums() -> None:
    form = PartsForm({"parts": json.dumps({"3": DIGEST, "1": DIGEST})})
    assert (form.is_valid(), form.cleaned_data) == (True, {"parts": {3: DIGEST, 1: DIGEST}})


@pytest.mark.parametrize(
    "parts",
    ["", "{}", "[]", "1", "null", '{"x": "0"}', '{"1.5": "0"}', "[" * 50_000, '{"' + "9" * 5000 + '": "0"}'],
)
def test_what_is_no_list_of_parts_is_one_sentence(parts: str) -> None:
    assert [len(errors) for errors in PartsForm({"parts": parts}).errors.values()] == [1]


@pytest.mark.parametrize(("count", "is_fine"), [(PARTS_AT_ONCE, True), (PARTS_AT_ONCE + 1, False)])
def test_parts_are_asked_for_a_hundred_at_a_time(count: int, is_fine: bool) -> None:
    parts = json.dumps({str(number + 1): DIGEST for number in range(count)})
    assert PartsForm({"parts": parts}).is_valid() is is_fine


def test_without_script_the_person_says_project_dataset_and_name() -> None:
    project = Project(code="p-1", name="研究")
    form = PlainForm({"project": "p-1", "dataset_name": "", "name": "a.txt"}, projects=[project])
    assert (form.is_valid(), list(form.fields)) == (True, ["project", "dataset", "dataset_name", "name"])
    assert list(PlainForm({"project": "p-2", "name": "a"}, projects=[project]).errors) == ["project"]


def test_a_known_dataset_is_not_asked_for_again() -> None:
    form = PlainForm({"name": "../a"}, projects=[], dataset=Dataset(name="d"))
    assert (list(form.fields), list(form.errors)) == (["dataset", "name"], ["name"])
