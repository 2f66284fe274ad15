import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.datasets import checks, cleaning, removal, storage, tasks
from portal.datasets.drafts import make_version
from portal.datasets.models import DataFile, Dataset, FileState, Leftover
from portal.datasets.tallies import tally_of
from tests.datasets.sending import MIB, begin, complete, over_parts, send, sha256
from tests.factories import MembershipFactory, ProjectFactory
from tests.factories.datasets import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.usefixtures("storage_ready"), pytest.mark.django_db]
Sign = Callable[..., Client]


@pytest.fixture
def client(client_of: Sign, member: User) -> Client:
    return client_of(member, "en")


def file_of(made: dict[str, Any]) -> DataFile:
    return DataFile.objects.select_related("dataset").get(code=made["file"])


def test_a_file_arrives_in_parts_and_is_ready_when_it_is_verified(client: Client, project: Project) -> None:
    data = os.urandom(17 * MIB)

    made = begin(client, data, project=project.code, dataset_name="コーパス 2026").json()
    statuses = send(client, made, data)
    completed = complete(client, made, data)
    file = file_of(made)
    verdict = checks.verify(file.pk)

    file.refresh_from_db()
    assert (made["parts"], statuses, completed.status_code, completed.json()) == (
        3,
        [200, 200, 200],
        200,
        {"state": "verifying"},
    )
    assert (verdict, file.state, file.size_bytes, file.sha256) == ("ready", "ready", len(data), sha256(data))
    assert (file.dataset.name, file.dataset.folder, file.path) == (
        "コーパス 2026",
        "コーパス_2026",
        "コーパス_2026/words.txt",
    )
    assert file.storage_key == f"t/{project.organization.code}/{file.code}"
    assert list(AuditEvent.objects.order_by("pk").values_list("act", flat=True)) == [
        "dataset.created",
        "file.verified",
    ]
    download = client.get(f"/datasets/files/{file.code}/download/")
    assert sha256(httpx.get(download["Location"]).content) == sha256(data)


def test_the_store_refuses_a_part_that_is_not_what_was_signed(client: Client, project: Project) -> None:
    data = os.urandom(1000)
    made = begin(client, data, project=project.code).json()
    answer = client.post(made["urls"]["parts"], {"parts": f'{{"1": "{sha256(data)}"}}'}).json()["parts"]["1"]

    status = httpx.put(answer["url"], headers=answer["headers"], content=data[:-1] + b"!").status_code
    completed = complete(client, made, data)

    assert (status, completed.status_code, completed.json()["missing"]) == (400, 409, [1])


def test_choosing_the_same_file_again_sends_only_what_is_missing(client: Client, project: Project) -> None:
    data = os.urandom(17 * MIB)
    first = begin(client, data, project=project.code).json()
    send(client, first, data, [1, 3])

    again = begin(client, data, project=project.code).json()
    held = client.get(again["urls"]["parts"]).json()
    send(client, again, data, [2])

    assert (again["file"], held) == (first["file"], {"held": [1, 3]})
    assert complete(client, again, data).status_code == 200


def test_what_the_dataset_has_already_is_not_sent_again(client: Client, project: Project) -> None:
    """A folder chosen again after an interruption: its finished files are found by what they are."""
    large = {"sha256": "", "fingerprint": sha256(b"ends"), "name": "a/large.bin"}
    first = [
        begin(client, project=project.code, name="a/words.txt").json(),
        begin(client, project=project.code, **large).json(),
    ]
    for made in first:
        send(client, made, b"words")
        complete(client, made, b"words")

    verifying = [begin(client, project=project.code, **fields).json() for fields in ({"name": "a/words.txt"}, large)]
    for made in first:
        checks.verify(file_of(made).pk)
    ready = [begin(client, project=project.code, **fields).json() for fields in ({"name": "a/words.txt"}, large)]
    other = [
        begin(client, project=project.code, **fields).status_code
        for fields in ({"name": "a/words.txt", "sha256": "0" * 64}, {**large, "last_modified": 5})
    ]

    assert [(made["file"], made["state"], made["held"], made["addresses"]) for made in (*verifying, *ready)] == [
        (made["file"], state, [], {}) for state in ("verifying", "ready") for made in first
    ]
    assert (other, DataFile.objects.count()) == ([201, 201], 4)  # another content takes its place


def test_a_small_file_needs_two_requests_to_the_portal(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    at = made["addresses"]["1"]

    sent = httpx.put(at["url"], headers=at["headers"], content=b"words").status_code
    again = begin(client, project=project.code).json()

    assert (made["held"], sent, again["held"], again["addresses"]) == ([], 200, [1], {})
    assert complete(client, made, b"words").status_code == 200
    assert checks.verify(file_of(made).pk) == "ready"


def test_states_are_asked_for_a_hundred_at_a_time(client: Client, project: Project) -> None:
    dataset = DatasetFactory(project=project)
    codes = [DataFileFactory(dataset=dataset).code for _ in range(101)]

    found = client.get("/datasets/files/states/", {"files": ",".join([*codes, "x\0"])}).json()["files"]

    assert found == {code: {"state": "ready", "failure": "", "sha256": sha256(b"words")} for code in codes[:100]}


def test_resume_refuses_another_file(client: Client, project: Project) -> None:
    made = begin(client, b"words", project=project.code).json()

    answers = [
        begin(client, b"WORDS", resume=made["file"]),
        begin(client, b"words", resume=made["file"], last_modified=1),
        begin(client, b"words", resume=made["file"]),
    ]

    sentence = "This is not the interrupted file: its name, size, date or content differs from “words.txt”."
    assert [a.status_code for a in answers] == [422, 422, 201]
    assert answers[0].json() == {"error": sentence}


def test_completing_twice_changes_nothing(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")

    answers = [complete(client, made, b"words") for _ in range(2)]

    assert [(a.status_code, a.json()) for a in answers] == [(200, {"state": "verifying"})] * 2


def test_completion_whose_answer_was_lost_is_found_out(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    file = file_of(made)
    storage.complete_upload(file.storage_key, file.upload_id, storage.parts_of(file.storage_key, file.upload_id))

    assert complete(client, made, b"words").status_code == 200
    assert checks.verify(file.pk) == "ready"


def test_an_upload_the_store_has_forgotten_begins_anew(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    file = file_of(made)
    storage.abort_upload(file.storage_key, file.upload_id)

    lost = complete(client, made, b"words")
    held = client.get(made["urls"]["parts"]).json()
    send(client, made, b"words")

    assert (lost.status_code, lost.json()["missing"], held) == (409, [1], {"held": []})
    assert complete(client, made, b"words").status_code == 200


def test_an_empty_file_is_a_file(client: Client, project: Project) -> None:
    made = begin(client, b"", project=project.code, name="empty").json()

    assert (made["parts"], complete(client, made, b"").status_code) == (0, 200)
    assert checks.verify(file_of(made).pk) == "ready"


@pytest.mark.parametrize(
    ("stored", "declared", "failure"),
    [
        (b"word", {}, "size"),
        (b"WORDS", {}, "checksum"),
        (b"WORDS", {"declared_sha256": ""}, "checksum"),
        (None, {}, "lost"),
    ],
)
def test_what_differs_never_becomes_ready(
    client: Client, project: Project, stored: bytes | None, declared: dict[str, str], failure: str
) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    complete(client, made, b"words")
    file = file_of(made)
    DataFile.objects.filter(pk=file.pk).update(**declared)
    if stored is None:
        storage.delete(file.storage_key)
    else:
        storage.put_bytes(file.storage_key, stored)

    verdict = checks.verify(file.pk)

    file.refresh_from_db()
    assert (verdict, file.state, file.failure, file.ready_at) == ("failed", "failed", failure, None)
    state = client.get("/datasets/files/states/", {"files": file.code}).json()["files"][file.code]
    assert (state["state"], "“words.txt”" in state["failure"]) == ("failed", True)
    # What failed is replaced by the next try under the same name, and its bytes go.
    assert begin(client, project=project.code, dataset=file.dataset.code).status_code == 201
    cleaning.remove_leftovers(timezone.now())
    assert (storage.size_of(file.storage_key), DataFile.objects.filter(pk=file.pk).exists()) == (None, False)


def test_a_large_file_is_checked_over_its_parts(client: Client, project: Project) -> None:
    data = os.urandom(9 * MIB)
    made = begin(client, data, project=project.code, sha256="", fingerprint=sha256(data[:100])).json()
    send(client, made, data)
    wrong = begin(client, data, project=project.code, sha256="", fingerprint=sha256(b"another"), name="b").json()
    send(client, wrong, data)
    client.post(wrong["urls"]["complete"], {"parts_sha256": over_parts(wrong, data[::-1])})
    complete(client, made, data)

    assert [checks.verify(file_of(m).pk) for m in (made, wrong)] == ["ready", "failed"]


def test_a_file_is_verified_by_one_worker_at_a_time(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    complete(client, made, b"words")
    file = file_of(made)
    DataFile.objects.filter(pk=file.pk).update(checked_until=timezone.now() + timedelta(minutes=1))

    taken = checks.verify(file.pk)
    DataFile.objects.filter(pk=file.pk).update(checked_until=timezone.now() - timedelta(seconds=1))

    assert (taken, list(DataFile.objects.to_verify()), checks.verify(file.pk)) == (None, [file], "ready")
    assert checks.verify(file.pk) is None


def test_an_outage_while_verifying_leaves_the_file_to_the_sweep(
    client: Client, project: Project, settings: Any
) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    complete(client, made, b"words")
    file = file_of(made)
    endpoint = settings.S3_ENDPOINT

    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    tasks.verify_file(file.pk)
    settings.S3_ENDPOINT = endpoint

    assert list(DataFile.objects.to_verify()) == [file]


def test_an_outage_is_said_and_the_same_upload_goes_on(client: Client, project: Project, settings: Any) -> None:
    endpoint = settings.S3_ENDPOINT
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    answer = begin(client, project=project.code)
    settings.S3_ENDPOINT = endpoint

    assert (answer.status_code, answer.json()) == (
        503,
        {"error": "The storage cannot be reached. Nothing is lost; try again in a minute."},
    )
    made = begin(client, project=project.code).json()
    assert (DataFile.objects.count(), send(client, made, b"words")) == (1, [200])


def test_cancelling_removes_the_parts(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    file = file_of(made)

    answers = [
        client.post(made["urls"]["cancel"], headers={"accept": "application/json"}).status_code for _ in range(2)
    ]
    cleaning.remove_leftovers(timezone.now())

    assert answers == [204, 404]
    assert [u for u in storage.open_uploads() if u.key == file.storage_key] == []
    assert (DataFile.objects.count(), Leftover.objects.count()) == (0, 0)


def test_a_dataset_in_which_nothing_ever_arrived_goes_with_its_last_cancelled_upload(
    client: Client, project: Project
) -> None:
    one, two = (begin(client, project=project.code, dataset_name="new", name=name).json() for name in ("a", "b"))
    kept = DataFileFactory(dataset=DatasetFactory(project=project, name="kept"))
    beside = begin(client, dataset=kept.dataset.code, name="c").json()
    left = []
    for made in (one, beside, two):
        client.post(made["urls"]["cancel"], headers={"accept": "application/json"})
        left.append(sorted(Dataset.objects.values_list("name", flat=True)))

    assert left == [["kept", "new"], ["kept", "new"], ["kept"]]
    again = begin(client, project=project.code, dataset_name="new", name="a")
    assert (again.status_code, again.json()["dataset"] != one["dataset"]) == (201, True)
    assert AuditEvent.objects.filter(act="dataset.discarded").values_list("subject", "detail").get() == (
        f"dataset:{one['dataset']}", {"name": "new"},
    )  # fmt: skip


def test_a_dataset_whose_files_were_all_deleted_stays_when_an_upload_into_it_is_cancelled(
    client: Client, project: Project, member: User
) -> None:
    made = begin(client, project=project.code, dataset_name="emptied").json()
    send(client, made, b"words")
    complete(client, made, b"words")
    checks.verify(file_of(made).pk)
    removal.delete_file(file_of(made), by=member)
    more = begin(client, dataset=made["dataset"], name="b").json()

    client.post(more["urls"]["cancel"])

    assert Dataset.objects.get().name == "emptied"


def test_uploads_silent_for_a_day_are_given_up(client: Client, project: Project) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    file = file_of(made)
    DataFile.objects.filter(pk=file.pk).update(active_at=timezone.now() - timedelta(days=1, seconds=1))
    begin(client, project=project.code, name="fresh.txt")

    tasks.abort_abandoned_uploads()

    file.refresh_from_db()
    assert (file.state, file.failure) == (FileState.ABANDONED, "silent")
    assert [u.key for u in storage.open_uploads() if u.key == file.storage_key] == []
    assert (
        "Nothing arrived for “words.txt” for 24 hours" in client.get(f"/datasets/{made['dataset']}/").content.decode()
    )
    assert tasks.abort_abandoned_uploads() is None


def test_uploads_that_nobody_wrote_down_are_aborted_when_old() -> None:
    key = "t/test/orphan"
    storage.create_upload(key)

    young = cleaning.abort_unknown_uploads(timezone.now())
    old = cleaning.abort_unknown_uploads(timezone.now() + timedelta(days=8))

    assert (young, old >= 1, [u for u in storage.open_uploads() if u.key == key]) == (0, True, [])


def test_the_plain_form_says_its_limit_and_what_the_store_answers_beyond_it_before_it_is_sent(
    client: Client, project: Project
) -> None:
    step_two = client.post("/datasets/form/", {"project": project.code, "dataset_name": "plain", "name": "a"})
    page = client.get(step_two["Location"]).content.decode()

    for words in ("A larger file than 100.0 MB is not taken", "EntityTooLarge", "AccessDenied", "15 minutes", "Back"):
        assert words in page


def test_the_plain_form_works_without_script(client: Client, project: Project) -> None:
    page = client.post("/datasets/form/", {"project": project.code, "dataset_name": "plain", "name": "言葉.txt"})
    file = DataFile.objects.get()
    form = client.get(page["Location"]).context["post"]
    early = client.get(f"/datasets/files/{file.code}/posted/")

    sent = httpx.post(form.url, data=form.fields, files={"file": ("x", "言葉\n".encode(), "text/plain")})
    path = sent.headers["location"].removeprefix("http://localhost:8000")
    back = [client.get(path) for _ in range(2)]

    assert (early["Location"], sent.status_code) == (f"/datasets/files/{file.code}/send/", 303)
    assert [b["Location"] for b in back] == [f"/datasets/{file.dataset.code}/"] * 2
    assert checks.verify(file.pk) == "ready"
    file.refresh_from_db()
    assert (file.name, file.size_bytes, file.sha256) == ("言葉.txt", 7, sha256("言葉\n".encode()))
    shown = client.get(f"/datasets/{file.dataset.code}/").content.decode()
    assert shown.count(f"<code>{file.sha256}</code>") == 1  # nobody has declared one: the person compares


def test_one_name_is_one_file_in_a_dataset(client: Client, client_of: Sign, project: Project, manager: User) -> None:
    made = begin(client, project=project.code, dataset_name="d").json()
    other = begin(client_of(manager, "en"), project=project.code, dataset_name="d")
    send(client, made, b"words")
    complete(client, made, b"words")
    verifying = begin(client, b"WORDS", project=project.code, dataset_name="d")

    assert [(a.status_code, a.json()["error"]) for a in (other, verifying)] == [
        (422, "“words.txt” is being uploaded into this dataset already. Wait for it, or cancel that upload first.")
    ] * 2
    assert Dataset.objects.count() == 1


def test_a_file_of_the_same_name_takes_the_earlier_ones_place_when_it_is_verified(
    client: Client, project: Project, member: User
) -> None:
    first = uploaded(client, project, b"words")
    version = make_version(first.dataset, by=member)
    second = uploaded(client, project, b"other words")
    third = uploaded(client, project, b"other words again")

    first.refresh_from_db()
    assert (first.state, first.added_in, first.removed_in) == ("ready", 1, 2)
    assert list(DataFile.objects.of_version(version)) == [first]
    assert list(DataFile.objects.filter(dataset=first.dataset).draft()) == [third]
    assert (third.state, third.replaces, third.replaced_earlier) == ("ready", None, True)
    assert list(Leftover.objects.values_list("storage_key", flat=True)) == [second.storage_key]
    assert tally_of(first.dataset).replaced == 1


def test_a_file_that_fails_takes_nobodys_place(client: Client, project: Project) -> None:
    first = uploaded(client, project, b"words")
    made = begin(client, b"wordz", project=project.code, dataset_name="d").json()
    send(client, made, b"wordz")
    complete(client, made, b"other")
    second = DataFile.objects.get(code=made["file"])
    before = second.replaces
    checks.verify(second.pk)

    assert before == first
    assert sorted(DataFile.objects.values_list("pk", "state", "removed_in")) == [
        (first.pk, "ready", None), (second.pk, "failed", None),
    ]  # fmt: skip


def uploaded(client: Client, project: Project, data: bytes) -> DataFile:
    made = begin(client, data, project=project.code, dataset_name="d").json()
    send(client, made, data)
    complete(client, made, data)
    file = DataFile.objects.get(code=made["file"])
    checks.verify(file.pk)
    file.refresh_from_db()
    return file


def test_a_folder_is_paths_and_its_dataset_is_called_like_it(
    client: Client, client_of: Sign, project: Project, viewer: User
) -> None:
    first = begin(client, project=project.code, name="学習 用/一/a.csv").json()
    second = begin(client, dataset=first["dataset"], name="学習 用/一/b.csv").json()
    for made in (first, second):
        send(client, made, b"words")
        complete(client, made, b"words")
        checks.verify(file_of(made).pk)
    file = file_of(first)

    download = client_of(viewer).get(f"/datasets/files/{file.code}/download/")["Location"]

    assert (file.dataset.name, file.path) == ("学習 用", "学習_用/学習 用/一/a.csv")
    assert sorted(file.dataset.files.values_list("name", flat=True)) == ["学習 用/一/a.csv", "学習 用/一/b.csv"]
    assert httpx.get(download).headers["content-disposition"] == 'attachment; filename="a.csv"'


@pytest.mark.parametrize(
    ("there", "wanted", "sentence"),
    [
        ("a", "a/b/c", "“a” is a file in this dataset, so no folder of that name can be made. Rename one of the two."),
        ("b/c", "b/c/d", "“b/c” is a file in this dataset, so no folder of that name can be made. Rename one of the two."),  # noqa: E501
        ("a/b/c", "a/b", "“a/b” is a folder in this dataset, so no file can have that name. Rename one of the two."),
        ("a/b/c", "a", "“a” is a folder in this dataset, so no file can have that name. Rename one of the two."),
    ],
)  # fmt: skip
def test_a_name_is_a_file_or_a_folder_because_a_job_sees_both(
    client: Client, project: Project, there: str, wanted: str, sentence: str
) -> None:
    file = DataFileFactory(dataset__project=project, name=there)

    answer = begin(client, dataset=file.dataset.code, name=wanted)

    assert (answer.status_code, answer.json()) == (422, {"error": sentence})


def test_what_failed_or_only_begins_alike_is_not_in_the_way(client: Client, project: Project) -> None:
    dataset = DatasetFactory(project=project)
    for name in ("a.b", "a0", "a-/b", "ab/c", "A"):
        DataFileFactory(dataset=dataset, name=name)
    DataFileFactory(dataset=dataset, name="a", state="failed", failure="lost", sha256="", ready_at=None)
    DataFileFactory(dataset=DatasetFactory(project=project, name="other"), name="a")

    answers = [begin(client, dataset=dataset.code, name=name).status_code for name in ("a/b", "a/c", "a")]

    assert answers == [201, 201, 422]


@pytest.mark.parametrize(
    ("size", "part_mib", "parts"),
    [
        (1, 8, 1),
        (8 * MIB, 8, 1),
        (8 * MIB + 1, 8, 2),
        (256 * MIB, 8, 32),
        (256 * MIB + 1, 32, 9),
        (2**33, 32, 256),
        (2**36, 66, 993),
        (10**11, 96, 994),
        (10**12, 128, 7451),
        (2 * 10**12, 191, 9987),
        (5 * 2**40, 525, 9987),
    ],
)
def test_parts_grow_with_the_file_and_are_never_more_than_ten_thousand(
    client: Client, project: Project, size: int, part_mib: int, parts: int, settings: Any
) -> None:
    settings.STORAGE_LIMIT_BYTES = 6 * 10**12
    made = begin(client, project=project.code, size=size, sha256="", fingerprint=sha256(b"ends")).json()

    assert (made["part_size"], made["parts"]) == (part_mib * MIB, parts)


def test_an_interrupted_file_of_a_folder_is_chosen_again_by_itself(client: Client, project: Project) -> None:
    made = begin(client, project=project.code, name="train/words.txt").json()

    answer = begin(client, resume=made["file"], name="words.txt")

    assert (answer.status_code, answer.json()["file"]) == (201, made["file"])


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "../x"},
        {"name": "a\nb"},
        {"name": "漢" * 86},
        {"size": "-1"},
        {"size": str(5 * 2**40 + 1)},
        {"size": "1e9"},
        {"size": "9" * 5000},
        {"sha256": "XYZ"},
        {"last_modified": "x"},
        {"dataset_name": "x" * 101},
        {"dataset_name": "a\u202eb"},
        {"dataset_name": "a\0b"},
        {"project": ""},
    ],
)
def test_bad_input_is_a_sentence_and_stores_nothing(client: Client, project: Project, fields: dict[str, str]) -> None:
    answer = begin(client, **{"project": project.code, **fields})

    assert (answer.status_code, list(answer.json()), DataFile.objects.count()) == (422, ["error"], 0)


@pytest.mark.parametrize(
    "parts", ["", "x", "[]", "{}", '{"0": "%s"}', '{"2": "%s"}', '{"1": "zz"}', '{"x": "%s"}', "1"]
)
def test_bad_lists_of_parts_are_refused(client: Client, project: Project, parts: str) -> None:
    made = begin(client, project=project.code).json()

    answer = client.post(made["urls"]["parts"], {"parts": parts.replace("%s", "0" * 64)})

    assert (answer.status_code, list(answer.json())) == (422, ["error"])


def test_sentences_are_in_the_readers_language(client_of: Sign, member: User, project: Project) -> None:
    answer = begin(client_of(member, "ja"), project=project.code, name="")
    assert answer.json() == {"error": "ファイル名を入力してください。"}


def test_who_may_send(client_of: Sign, project: Project, member: User, viewer: User, stranger: User) -> None:
    made = begin(client_of(member), project=project.code).json()
    colleague = MembershipFactory(organization=project.organization, role=Role.MANAGER).user
    urls = made["urls"]

    def statuses(user: User) -> list[int]:
        client = client_of(user)
        return [
            begin(client, project=project.code, name="other.txt").status_code,
            begin(client, dataset=made["dataset"], name="another.txt").status_code,
            begin(client, resume=made["file"]).status_code,
            client.get(urls["parts"]).status_code,
            client.post(urls["parts"], {"parts": f'{{"1": "{sha256(b"words")}"}}'}).status_code,
            client.post(urls["complete"], {"parts_sha256": "0" * 64}).status_code,
            client.post(urls["cancel"]).status_code,
            list(client.get("/datasets/files/states/", {"files": made["file"]}).json()["files"]),
        ]

    assert statuses(stranger) == [404] * 7 + [[]]
    assert statuses(viewer) == [403, 403, 404, 404, 404, 404, 404, [made["file"]]]
    assert statuses(colleague) == [201, 201, 404, 404, 404, 404, 404, [made["file"]]]
    assert DataFile.objects.filter(code=made["file"], state="uploading").count() == 1


def test_a_closed_project_takes_no_files(client: Client, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(closed_at=timezone.now())

    answer = begin(client, project=project.code)

    assert (answer.status_code, answer.json()) == (422, {"error": "This project is closed. Choose another project."})


def test_other_projects_datasets_are_not_reached_by_name(client: Client, project: Project) -> None:
    other = DatasetFactory(project=ProjectFactory(organization=project.organization), name="d")
    DataFileFactory(dataset=other, name="words.txt")

    assert begin(client, project=project.code, dataset_name="d").status_code == 201
    assert Dataset.objects.filter(name="d").count() == 2
