"""The data a job reads: versions of datasets, whole or chosen files of them; and files that are in no version.

A form names them by words: `d-…@3` is version 3 of that dataset, `d-…` its newest version or, while it has none, all of
its files, `f-…` one file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.db.models import F, OuterRef, Q
from django.utils.translation import gettext as _

from portal.accounts.models import Project
from portal.datasets.copies import Held, held_at
from portal.datasets.manifests import files_of
from portal.datasets.models import DataFile, Dataset, DatasetVersion, FileState, VersionState
from portal.jobs.models import Job
from portal.jobs.request import INPUTS_MAX, Attached

DATASETS_SHOWN = 50
VERSIONS_SHOWN = 10  # of each dataset
FILES_SHOWN = 200

_WORD = re.compile(r"(d-[0-9a-z]{1,17})(?:@([1-9][0-9]{0,8}))?|f-[0-9a-z]{1,17}")


@dataclass(frozen=True)
class Choice:
    """A dataset as the form offers it."""

    dataset: Dataset
    versions: Sequence[DatasetVersion]  # ready ones, the newest first
    chosen: DatasetVersion  # what is attached if the dataset is
    is_attached: bool
    files: Sequence[DataFile]  # those chosen one by one


@dataclass(frozen=True)
class Choices:
    """What the form offers, and what is chosen of it: `words` as it was sent, `versions` from the lists of versions."""

    datasets: Sequence[Choice] = ()
    files: Sequence[DataFile] = ()  # in no version
    chosen_files: frozenset[str] = field(default_factory=frozenset)


NO_CHOICES = Choices()


@dataclass(frozen=True)
class Places:
    """What sites hold of the chosen data, most bytes first, and how many files that is in all."""

    held: Sequence[Held]
    files: int


def choices_for(project: Project, words: Iterable[str], versions: Iterable[str] = ()) -> Choices:
    """The newest datasets and what is chosen beside them, first what is chosen: two statements, three where there are
    files to list."""
    words, wanted = set(words), _numbers([*versions, *words])
    codes = {word for word in words if word.startswith("f-")}
    newest = Dataset.objects.attachable_to(project).filter(latest_number__gt=0).order_by("-pk")
    found = (
        DatasetVersion.objects.filter(
            Q(dataset__in=newest.values("pk")[:DATASETS_SHOWN]) | Q(dataset__code__in=list(wanted))
        )
        .filter(dataset__in=Dataset.objects.attachable_to(project), state=VersionState.READY)
        .filter(
            Q(number__gt=F("dataset__latest_number") - VERSIONS_SHOWN)
            | Q(number__in=[number for number in wanted.values() if number])
        )
        .select_related("dataset")
        .order_by("-dataset", "-number")
    )
    files = _files_beside(project, codes)
    of_dataset: dict[int, list[DatasetVersion]] = {}
    for version in found:
        of_dataset.setdefault(version.dataset_id, []).append(version)
    attached = {word.partition("@")[0] for word in words if word.startswith("d-")}
    choices = []
    for listed in of_dataset.values():
        dataset = listed[0].dataset
        chosen = next((v for v in listed if v.number == wanted.get(dataset.code)), listed[0])
        own = [f for f in files if f.dataset_id == dataset.pk and f.code in codes and f.added_in is not None]
        choices.append(Choice(dataset, listed, chosen, dataset.code in attached, own))
    choices.sort(key=lambda choice: not (choice.is_attached or choice.files))
    listed_too = {file.pk for choice in choices for file in choice.files}
    alone = [f for f in files if f.pk not in listed_too]
    ticked = codes | {f.code for f in alone if f.dataset.code in attached and not f.dataset.latest_number}
    first = {f.dataset_id for f in alone if f.code in ticked}
    alone.sort(key=lambda f: (f.dataset_id not in first, f.dataset.name, f.dataset_id, f.code not in ticked, f.name))
    return Choices(choices, alone, frozenset(ticked))


def _files_beside(project: Project, codes: set[str]) -> list[DataFile]:
    """The newest files that are in no version, and the chosen ones. From each dataset only some are looked at."""
    own = DataFile.objects.filter(dataset=OuterRef("pk")).in_no_version().order_by("-pk").values("pk")
    newest = Dataset.objects.attachable_to(project).order_by("-pk")[:DATASETS_SHOWN]
    loose = [pk for pks in newest.values_list(ArraySubquery(own[:FILES_SHOWN]), flat=True) for pk in pks]
    wanted = sorted(loose, reverse=True)[:FILES_SHOWN]
    if not wanted and not codes:
        return []
    return list(
        DataFile.objects.filter(Q(pk__in=wanted) | Q(code__in=codes), state=FileState.READY)
        .filter(dataset__in=Dataset.objects.attachable_to(project))
        .select_related("dataset")
        .order_by("-pk")
    )


def resolve(
    project: Project, words: Sequence[str], versions: Iterable[str] = ()
) -> tuple[tuple[Attached, ...], tuple[DataFile, ...]]:
    """What is attached, and single files that are in no version. Raises ValidationError with the sentence to show."""
    gone = ValidationError(_("A chosen dataset or file is no longer available. Choose again."))
    words = sorted({word for word in words if word})
    if not words:
        return (), ()
    if not all(_WORD.fullmatch(word) for word in words):
        raise gone
    singles, whole = [w for w in words if w.startswith("f-")], [w for w in words if w.startswith("d-")]
    files = list(
        DataFile.objects.filter(code__in=singles, state=FileState.READY)
        .filter(dataset__in=Dataset.objects.attachable_to(project))
        .select_related("dataset")
    )
    if len(files) != len(singles):
        raise gone
    listed, named = _numbers(versions), _numbers(whole)
    if len({word for word in whole if "@" in word}) > len({code for code, number in named.items() if number}):
        raise ValidationError(_("Choose one version of each dataset."))
    codes = {file.dataset.code for file in files} | set(named)
    by_code: dict[str, dict[int, DatasetVersion]] = {}
    ready = DatasetVersion.objects.filter(state=VersionState.READY, dataset__code__in=codes)
    for version in ready.filter(dataset__in=Dataset.objects.attachable_to(project)).select_related("dataset"):
        by_code.setdefault(version.dataset.code, {})[version.number] = version
    attached, alone = [], []
    for code, number in named.items():
        found = by_code.get(code, {})
        chosen = found.get(number or listed.get(code) or max(found, default=0))
        if chosen is not None:
            attached.append(Attached(chosen))
            continue
        loose = _in_no_version(project, code) if not found and number is None else []
        if not loose:
            raise gone
        alone += loose
    chosen_files: dict[DatasetVersion, list[DataFile]] = {}
    for file in files:
        if file.dataset.code in named:
            continue  # all of it is attached
        if file.added_in is None:
            alone.append(file)
            continue
        holding = _version_with(file, by_code.get(file.dataset.code, {}), listed.get(file.dataset.code))
        if holding is None:
            raise ValidationError(
                _("“%(name)s” is not in the chosen version of “%(dataset)s”. Choose again.")
                % {"name": file.name, "dataset": file.dataset.name}
            )
        chosen_files.setdefault(holding, []).append(file)
    attached += [Attached(version, tuple(some)) for version, some in chosen_files.items()]
    check_count(sum(one.file_count for one in attached) + len(alone))
    return tuple(attached), tuple(alone)


def places_of(project: Project, words: Sequence[str], versions: Iterable[str] = ()) -> Places | None:
    """Where the bytes of what is chosen lie. None: nothing is chosen, or not what can be read."""
    if not words:
        return None
    try:
        attached, alone = resolve(project, words, versions)
    except ValidationError:
        return None
    return places_with(attached, alone)


def places_with(attached: Sequence[Attached], alone: Sequence[DataFile]) -> Places | None:
    if not (attached or alone):
        return None
    chosen = Q(pk__in=[file.pk for file in alone])
    for one in attached:
        if one.files is None:
            chosen |= Q(pk__in=DataFile.objects.of_version(one.version).values("pk"))
        else:
            chosen |= Q(pk__in=[file.pk for file in one.files])
    count = sum(one.file_count for one in attached) + len(alone)
    return Places(held_at(DataFile.objects.filter(chosen)), count)


def _in_no_version(project: Project, code: str) -> list[DataFile]:
    dataset = Dataset.objects.attachable_to(project).filter(code=code, latest_number=0).first()
    files = DataFile.objects.filter(dataset=dataset).in_no_version().select_related("dataset").order_by("pk")
    return list(files[: INPUTS_MAX + 1]) if dataset else []


def check_count(count: int) -> None:
    if count > INPUTS_MAX:
        raise ValidationError(
            _("A job can read up to %(most)s files; these are %(count)s. Choose fewer, or pack them into one file.")
            % {"most": f"{INPUTS_MAX:,}", "count": f"{count:,}"}
        )


def files_to_read(attached: Attached) -> list[DataFile]:
    """Read again from the database, since the page may be a while old; those still there. `dataset` is set on each."""
    version = attached.version
    if attached.files is None:
        found = list(files_of(version, "code", "size_bytes", "sha256", "storage_key", "dataset"))
    else:
        chosen = DataFile.objects.of_version(version).filter(pk__in=[file.pk for file in attached.files])
        found = list(chosen.in_path_order())
    for file in found:
        file.dataset = version.dataset
    return found


def told(attached: Iterable[Attached], alone: Sequence[DataFile]) -> list[dict[str, Any]]:
    """What the job's page says of it, for good. Files beside versions are one more entry, without a dataset; such files
    alone are no entry: the page lists them."""
    versions = [_told(one) for one in attached]
    if not versions or not alone:
        return versions
    return [*versions, {"dataset": "", "files": len(alone), "size_bytes": sum(file.size_bytes for file in alone)}]


def _told(attached: Attached) -> dict[str, Any]:
    version = attached.version
    return {
        "dataset": version.dataset.code,
        "name": version.dataset.name,
        "folder": version.dataset.folder,
        "number": version.number,
        "manifest_sha256": version.manifest_sha256,
        "files": attached.file_count,
        "size_bytes": attached.size_bytes,
        "all": attached.files is None,
    }


def words_of(job: Job) -> tuple[list[str], list[str]]:
    """What a form of a job like this one begins with: `inputs` and `versions`."""
    of_versions = [one for one in job.datasets if one["dataset"]]
    named = {one["dataset"]: f"{one['dataset']}@{one['number']}" for one in of_versions}
    whole = [one["dataset"] for one in of_versions if one["all"]]
    files: list[str] = []
    if len(whole) < len(job.datasets) or not job.datasets:
        read = job.inputs.filter(data_file__state=FileState.READY).exclude(data_file__dataset__code__in=whole)
        files = list(read.order_by("path").values_list("data_file__code", flat=True))
    return [named[code] for code in whole] + files, list(named.values())


def _numbers(words: Iterable[str]) -> Mapping[str, int | None]:
    """Dataset code to version number; None: the newest."""
    found: dict[str, int | None] = {}
    for word in words:
        if (match := _WORD.fullmatch(word)) and match[1]:
            found[match[1]] = int(match[2]) if match[2] else found.get(match[1])
    return found


def _version_with(file: DataFile, versions: Mapping[int, DatasetVersion], wanted: int | None) -> DatasetVersion | None:
    """The wanted version if it has the file; else, when none is wanted, the newest one that has it."""
    assert file.added_in is not None
    last = (file.removed_in or max(versions, default=0) + 1) - 1
    holding = [n for n in versions if file.added_in <= n <= last]
    if wanted is not None and wanted in versions:
        return versions[wanted] if wanted in holding else None
    return versions[max(holding)] if holding else None
