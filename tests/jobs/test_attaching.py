from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from portal.accounts.models import Project
from portal.datasets.copies import Held
from portal.datasets.models import Copy, DataFile, Dataset, DatasetVersion, StorageSite
from portal.jobs import attaching
from portal.jobs.attaching import Places, choices_for, files_to_read, places_of, resolve, told
from portal.jobs.request import Attached
from tests.factories import DataFileFactory, DatasetFactory, DatasetVersionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset(project: Project) -> Dataset:
    """Version 1 has a and b, version 2 has b and c; d is in none."""
    dataset = DatasetFactory(project=project, name="texts", folder="texts", latest_number=2)
    for name, added, removed in (("a", 1, 2), ("b", 1, None), ("c", 2, None), ("d", None, None)):
        DataFileFactory(dataset=dataset, name=name, added_in=added, removed_in=removed)
    for number in (1, 2):
        DatasetVersionFactory(dataset=dataset, number=number, file_count=2, size_bytes=10)
    return dataset


def file(name: str) -> DataFile:
    return DataFile.objects.get(name=name)


def version(number: int) -> DatasetVersion:
    return DatasetVersion.objects.get(number=number)


def sentence(project: Project, words: list[str], versions: list[str] | None = None) -> str:
    with translation.override("en"), pytest.raises(ValidationError) as refused:
        resolve(project, words, versions or [])
    return " ".join(refused.value.messages)


def names(attached: Attached) -> list[str]:
    return [f"{one.path} {one.size_bytes}" for one in files_to_read(attached)]


@pytest.mark.parametrize(
    ("words", "versions", "number"),
    [(["{d}"], [], 2), (["{d}"], ["{d}@1"], 1), (["{d}@1"], [], 1), (["{d}@1"], ["{d}@2"], 1), (["", "{d}"], [], 2)],
)
def test_a_whole_version(
    project: Project, dataset: Dataset, words: list[str], versions: list[str], number: int
) -> None:
    attached, alone = resolve(
        project, [w.format(d=dataset.code) for w in words], [v.format(d=dataset.code) for v in versions]
    )
    assert (attached, alone) == ((Attached(version(number)),), ())
    assert names(attached[0]) == (["texts/a 5", "texts/b 5"] if number == 1 else ["texts/b 5", "texts/c 5"])
    assert told(attached, alone) == [
        {
            "dataset": dataset.code, "name": "texts", "folder": "texts", "number": number,
            "manifest_sha256": version(number).manifest_sha256, "files": 2, "size_bytes": 10, "all": True,
        }
    ]  # fmt: skip


def test_chosen_files_are_of_the_version_that_is_named_or_of_the_newest_that_has_them(
    project: Project, dataset: Dataset
) -> None:
    a, b, d, at = file("a"), file("b"), file("d"), dataset.code
    of_newest = resolve(project, [b.code], [])
    of_first = resolve(project, [b.code, a.code], [f"{at}@1"])
    gone_since, loose = resolve(project, [a.code], []), resolve(project, [d.code], [f"{at}@1"])
    both = resolve(project, [at, b.code, d.code], [])
    assert (of_newest, gone_since, loose, both) == (
        ((Attached(version(2), (b,)),), ()),
        ((Attached(version(1), (a,)),), ()),
        ((), (d,)),
        ((Attached(version(2)),), ()),  # all of the dataset is attached; a file beside it says nothing more
    )
    assert [(one.version, set(one.files or ())) for one in of_first[0]] == [(version(1), {a, b})]
    assert names(of_first[0][0]) == ["texts/a 5", "texts/b 5"]
    assert told(*resolve(project, [b.code], []))[0]["all"] is False


def test_what_cannot_be_attached(project: Project, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, at = DataFileFactory(), dataset.code
    making = DatasetVersionFactory(dataset__project=project, state="making", number=1)
    gone = "A chosen dataset or file is no longer available. Choose again."
    words: list[list[Any]] = [
        [foreign.code], [foreign.dataset.code], [f"{at}@3"], ["x"], [f"{at}@0"], ["f-\0"], [f"{at}@99999999999"],
        [making.dataset.code], [file("a").code, "f-none"],
    ]  # fmt: skip
    assert [sentence(project, one) for one in words] == [gone] * len(words)
    assert sentence(project, [f"{at}@1", f"{at}@2"]) == "Choose one version of each dataset."
    assert sentence(project, [file("c").code], [f"{at}@1"]) == (
        "“c” is not in the chosen version of “texts”. Choose again."
    )
    monkeypatch.setattr(attaching, "INPUTS_MAX", 1)
    assert sentence(project, [at]) == (
        "A job can read up to 1 files; these are 2. Choose fewer, or pack them into one file."
    )


def test_a_dataset_without_a_version_is_all_of_its_files(project: Project) -> None:
    first = DataFileFactory(dataset=DatasetFactory(project=project))
    second = DataFileFactory(dataset=first.dataset)
    choices = choices_for(project, [first.dataset.code])
    assert resolve(project, [first.dataset.code]) == ((), (first, second))
    assert told((), (first, second)) == []
    assert (choices.datasets, set(choices.files), choices.chosen_files) == (
        [],
        {first, second},
        {first.code, second.code},
    )


@pytest.mark.parametrize("rows", [1, 25, 60])
def test_the_form_lists_the_newest_datasets_in_two_statements(
    project: Project, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(rows):
        dataset = DatasetFactory(project=project, latest_number=12)
        for number in range(1, 13):
            DatasetVersionFactory(dataset=dataset, number=number)
    DatasetVersionFactory(number=1, dataset__latest_number=1)
    with django_assert_num_queries(2):
        choices = choices_for(project, [])
    assert [len(one.versions) for one in choices.datasets] == [10] * min(rows, 50)
    assert [one.chosen.number for one in choices.datasets] == [12] * min(rows, 50)


def test_what_was_chosen_is_chosen_again(project: Project, dataset: Dataset) -> None:
    c, d, at = file("c"), file("d"), dataset.code
    nothing, whole = choices_for(project, []), choices_for(project, [f"{at}@1"])
    some, old = choices_for(project, [c.code, d.code], [f"{at}@2"]), choices_for(project, [at], [f"{at}@1"])

    def plain(choices: attaching.Choices) -> Any:
        (one,) = choices.datasets
        return one.is_attached, one.chosen.number, list(one.files), list(choices.files), set(choices.chosen_files)

    assert [plain(one) for one in (nothing, whole, some, old)] == [
        (False, 2, [], [d], set()),
        (True, 1, [], [d], set()),
        (False, 2, [c], [d], {c.code, d.code}),
        (True, 1, [], [d], set()),
    ]


def test_where_the_chosen_data_lies_takes_the_same_statements_for_one_file_and_for_many(
    project: Project, dataset: Dataset, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sakura = StorageSite.objects.create(
        slug="ishikari", provider="sakura", name_ja="石狩", name_en="Ishikari", region="jp", endpoint="https://x",
        public_endpoint="https://x", bucket="b",
    )  # fmt: skip
    for name in ("b", "c", "d"):
        one = file(name)
        Copy.objects.create(file=one, dataset=dataset, site=sakura, storage_key=one.storage_key, size_bytes=5)
    Copy.objects.filter(file__name__in=["b", "d"]).update(
        state="verified", arrival=1, verified_at=timezone.now()
    )  # c is still under way

    def places(*words: str) -> Places | None:
        with translation.override("en"):
            return places_of(project, words)

    assert places(f"{dataset.code}@2") == Places([Held("ishikari", "Ishikari", "sakura", False, 1, 5)], 2)
    with django_assert_num_queries(3):
        places(f"{dataset.code}@2")
    single = [file("b").code, file("d").code]
    with django_assert_num_queries(4):
        assert places(*single) == Places([Held("ishikari", "Ishikari", "sakura", False, 2, 10)], 2)
    assert [places(), places("d-gone"), places("x")] == [None, None, None]


def test_what_is_chosen_is_listed_first(project: Project, dataset: Dataset) -> None:
    for number in range(3):
        newer = DatasetFactory(project=project, name=f"newer {number}", latest_number=1)
        DatasetVersionFactory(dataset=newer, number=1)
        DataFileFactory(dataset=DatasetFactory(project=project, name=f"A {number}"), name=f"loose {number}")

    chosen = choices_for(project, [f"{dataset.code}@1", file("loose 2").code])

    assert [choice.dataset.name for choice in chosen.datasets] == ["texts", "newer 2", "newer 1", "newer 0"]
    assert [one.name for one in chosen.files] == ["loose 2", "loose 0", "loose 1", "d"]
