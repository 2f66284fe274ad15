"""Uploads from a terminal: the command, its token at the door, and the script itself against the real store."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.test import Client

from portal.accounts.models import Membership, Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.datasets import checks, drafts
from portal.datasets.models import DataFile, Dataset, FileState
from tests.datasets.sending import MIB, begin, over_parts, send, sha256
from tests.factories import MembershipFactory, ProjectFactory
from tests.factories.datasets import DatasetFactory

pytestmark = [pytest.mark.usefixtures("storage_ready"), pytest.mark.django_db]
Sign = Callable[..., Client]
GONE = "This upload command has expired or was taken back. Make a new one: what has arrived is kept."


def token_in(page: str) -> str:
    found = re.search(r"PORTAL_TOKEN=(\S+)", page)
    assert found
    return found.group(1)


def bearer(token: str, *, csrf: bool = True) -> Client:
    return Client(enforce_csrf_checks=csrf, headers={"authorization": f"Bearer {token}", "accept-language": "en"})


@pytest.fixture
def signed_in(client_of: Sign, member: User) -> Client:
    return client_of(member, "en")


@pytest.fixture
def token(signed_in: Client, project: Project) -> str:
    return token_in(signed_in.post("/datasets/token/", {"project": project.code}).content.decode())


def test_the_command_is_one_line_shown_once(signed_in: Client, project: Project) -> None:
    dataset = DatasetFactory(project=project)

    page = signed_in.post("/datasets/token/", {"dataset": dataset.code})
    fragment = signed_in.post("/datasets/token/", {"project": project.code}, headers={"hx-request": "true"})

    command = page.context["command"]
    assert re.fullmatch(
        r"curl -fsSo portal-upload.py http://localhost:8000/static/portal-upload.py && "
        r"PORTAL_URL=http://localhost:8000 PORTAL_TOKEN=[\w:-]+ python3 portal-upload.py FILE",
        command,
    )
    assert (page["Cache-Control"], fragment.content.decode().startswith('<div id="terminal"')) == (
        "private, no-store",
        True,
    )
    assert list(AuditEvent.objects.order_by("pk").values_list("act", "subject")) == [
        ("upload.token", f"dataset:{dataset.code}"),
        ("upload.token", f"project:{project.code}"),
    ]


def test_who_may_make_a_command(client_of: Sign, project: Project, viewer: User, billing: User, stranger: User) -> None:
    dataset = DatasetFactory(project=project)

    def statuses(user: User) -> list[int]:
        client = client_of(user)
        return [
            client.post("/datasets/token/", fields).status_code
            for fields in ({"project": project.code}, {"dataset": dataset.code}, {})
        ]

    assert (statuses(viewer), statuses(billing), statuses(stranger)) == ([403, 403, 404], [403, 404, 404], [404] * 3)


def test_a_terminal_sends_a_file_without_cookie_and_csrf(token: str) -> None:
    terminal, data = bearer(token), os.urandom(9 * MIB)
    made = begin(terminal, data, name="a/b.bin").json()

    sent = send(terminal, made, data)
    held = terminal.get(made["urls"]["parts"]).json()
    completed = terminal.post(made["urls"]["complete"], {"parts_sha256": over_parts(made, data)}).json()
    checks.verify(DataFile.objects.get().pk)
    states = terminal.get("/datasets/files/states/", {"files": made["file"]}).json()

    assert (sent, held, completed) == ([200, 200], {"held": [1, 2]}, {"state": "verifying"})
    assert states == {"files": {made["file"]: {"state": "ready", "failure": "", "sha256": sha256(data)}}}


def test_a_cookie_still_needs_its_csrf_token(client_of: Sign, member: User, project: Project, token: str) -> None:
    made = begin(client_of(member), project=project.code).json()
    cookie = client_of(member, "en")
    cookie.handler.enforce_csrf_checks = True
    urls = ["/datasets/begin/", *(made["urls"][name] for name in ("parts", "complete", "cancel")), "/datasets/token/"]

    def statuses(**headers: str) -> list[int]:
        return [cookie.post(url, headers=headers).status_code for url in urls]

    assert statuses() == [403] * 5
    # A header that is no token of ours does not fall back to the cookie.
    assert statuses(authorization="Bearer x") == [401, 401, 401, 401, 403]
    assert statuses(authorization="Basic dTpw") == [401, 401, 401, 401, 403]
    assert statuses(authorization="") == [401, 401, 401, 401, 403]
    assert DataFile.objects.filter(state=FileState.UPLOADING).count() == 1


def test_a_token_does_nothing_but_upload(token: str, project: Project) -> None:
    terminal = bearer(token)
    dataset = DatasetFactory(project=project)
    urls = ["/", "/jobs/", "/datasets/", f"/datasets/{dataset.code}/", "/datasets/form/", "/account/email/"]

    answers = [terminal.get(url) for url in urls] + [terminal.post("/datasets/token/", {"project": project.code})]

    assert "member@example.jp" not in "".join(answer.content.decode() for answer in answers)
    assert [answer.status_code for answer in answers] == [200, 302, 302, 302, 302, 302, 403]


def test_a_token_reaches_its_own_place_alone(
    signed_in: Client, client_of: Sign, member: User, project: Project, token: str
) -> None:
    dataset, other = DatasetFactory(project=project), DatasetFactory(project=project, name="other")
    elsewhere = DatasetFactory(project=ProjectFactory(organization=project.organization))
    narrow = token_in(signed_in.post("/datasets/token/", {"dataset": dataset.code}).content.decode())
    outside = begin(signed_in, dataset=elsewhere.code).json()
    beside = begin(signed_in, dataset=other.code).json()
    colleagues = begin(
        client_of(MembershipFactory(organization=project.organization, role=Role.MEMBER).user), dataset=dataset.code
    ).json()

    def statuses(terminal: Client, made: dict[str, Any]) -> list[int]:
        return [
            begin(terminal, name="x", dataset=made["dataset"]).status_code,
            begin(terminal, resume=made["file"]).status_code,
            terminal.get(made["urls"]["parts"]).status_code,
            terminal.post(made["urls"]["parts"], {"parts": f'{{"1": "{sha256(b"words")}"}}'}).status_code,
            terminal.post(made["urls"]["complete"], {"parts_sha256": "0" * 64}).status_code,
            terminal.post(made["urls"]["cancel"]).status_code,
            terminal.post(made["urls"]["version"], {"wait": "1"}).status_code,
            len(terminal.get("/datasets/files/states/", {"files": made["file"]}).json()["files"]),
        ]

    wide, tight = bearer(token), bearer(narrow)
    assert [statuses(wide, outside), statuses(tight, outside), statuses(tight, beside)] == [[404] * 7 + [0]] * 3
    assert statuses(tight, colleagues)[1:6] == [404] * 5
    assert begin(tight, name="y", project=elsewhere.project.code).json()["dataset"] == dataset.code
    assert begin(wide, name="z", project=elsewhere.project.code, dataset_name="new").status_code == 201
    assert set(DataFile.objects.values_list("dataset__project", flat=True)) == {project.pk, elsewhere.project.pk}
    assert elsewhere.files.count() == 1


def test_a_role_taken_away_ends_it_at_once(token: str, member: User) -> None:
    made = begin(bearer(token)).json()
    Membership.objects.filter(user=member).delete()

    terminal = bearer(token)
    answers = [begin(terminal), terminal.get(made["urls"]["parts"])]

    assert [answer.status_code for answer in answers] == [403, 404]


def test_signing_out_ends_the_command_and_says_what_to_do(signed_in: Client, token: str) -> None:
    before = begin(bearer(token)).status_code
    signed_in.post("/account/logout/")

    after = begin(bearer(token))

    assert (before, after.status_code, after.json(), after["WWW-Authenticate"]) == (201, 401, {"error": GONE}, "Bearer")


def test_a_terminal_has_the_limits_of_a_browser(signed_in: Client, token: str, project: Project, settings: Any) -> None:
    settings.LIMITS = {**settings.LIMITS, "presign": 3}
    made = begin(bearer(token)).json()
    asked = {"parts": f'{{"1": "{sha256(b"words")}"}}'}

    answers = [
        client.post(made["urls"]["parts"], asked).status_code for client in (bearer(token), signed_in, signed_in)
    ]

    assert answers == [200, 200, 429]


# --- the script itself ---


class Terminal:
    """Runs static/portal-upload.py against a live portal while a worker of its own verifies what arrives."""

    def __init__(self, url: str, token: str) -> None:
        self.environment = {"PATH": os.environ["PATH"], "PORTAL_URL": url, "PORTAL_TOKEN": token, "LANG": "C.UTF-8"}
        self.done = threading.Event()

    def run(self, *arguments: object, **more: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-I", configured.BASE_DIR / "static/portal-upload.py", *map(str, arguments)],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    def verify(self) -> None:
        from django.db import connection

        while not self.done.wait(0.1):
            for pk in DataFile.objects.to_verify().values_list("pk", flat=True):
                checks.verify(pk)
        connection.close()


@pytest.fixture
def terminal(transactional_db: None, live_server: Any, token: str) -> Iterator[Terminal]:
    running = Terminal(live_server.url, token)
    worker = threading.Thread(target=running.verify)
    worker.start()
    yield running
    running.done.set()
    worker.join()


def test_the_script_sends_files_and_folders_and_again_only_what_is_missing(
    terminal: Terminal, tmp_path: Path, project: Project
) -> None:
    data = os.urandom(70 * MIB)
    (tmp_path / "学習 用/深い").mkdir(parents=True)
    (tmp_path / "学習 用/深い/大.bin").write_bytes(data)
    (tmp_path / "学習 用/空").write_bytes(b"")
    for number in range(12):
        (tmp_path / f"学習 用/{number}.txt").write_text(f"言葉 {number}\n")

    first = terminal.run(tmp_path / "学習 用", "--dataset", "コーパス")
    again = terminal.run(tmp_path / "学習 用", "--dataset", "コーパス")

    names = sorted(["学習 用/深い/大.bin", "学習 用/空", *(f"学習 用/{n}.txt" for n in range(12))])
    *lines, summary, version = first[1].splitlines()
    assert (first[0], summary, again[0]) == (0, "14 verified, 0 not there.", 0)
    assert sorted(line.split("  ")[2] for line in lines) == names
    dataset = Dataset.objects.get()
    address = f"{terminal.environment['PORTAL_URL']}/datasets/{dataset.code}/"
    assert version in (
        f"Version 1 was made: {address}",
        f"Version 1 is made as soon as every file of the dataset is verified: {address}",
    )
    drafts.make_wanted(dataset.pk)
    assert dataset.versions.count() == 1
    unchanged = terminal.run(tmp_path / "学習 用", "--dataset", "コーパス")[1].splitlines()[-1]
    assert unchanged == f"Nothing differs from version 1, so no new one is made: {address}"
    assert f"verified  {sha256(data)}  学習 用/深い/大.bin" in lines
    assert " 0 B per second" not in first[2]
    assert sorted(DataFile.objects.values_list("dataset__name", "name", "state")) == [
        ("コーパス", name, "ready") for name in names
    ]


def test_the_script_makes_no_version_where_it_is_told_not_to(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")

    code, printed, _ = terminal.run(tmp_path / "a.txt", "--no-version")

    dataset = Dataset.objects.get()
    assert (code, printed.splitlines()[1:]) == (0, ["1 verified, 0 not there."])
    assert (dataset.version_wanted_by, dataset.versions.count()) == (None, 0)


def test_the_script_says_which_links_it_does_not_follow(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not meant")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.txt").write_text("b")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "file").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)

    without = terminal.run(folder, "--no-version")
    names = list(DataFile.objects.order_by("name").values_list("name", flat=True))
    followed = terminal.run(folder, "--no-version", "--follow-links")

    left_out = "a symbolic link, so it is not sent (with --follow-links it is)."
    assert (without[0], names) == (0, ["data/a.txt"])
    assert without[2].splitlines() == [f"{folder / name}: {left_out}" for name in ("linked", "round", "file")]
    assert (followed[0], sorted(DataFile.objects.values_list("name", flat=True))) == (
        0, ["data/a.txt", "data/file", "data/linked/b.txt"],
    )  # fmt: skip
    assert followed[2].splitlines() == [
        f"{folder / 'round'}: a link to a folder that was walked already, so it is not followed."
    ]


def test_the_script_goes_on_where_it_was_killed(terminal: Terminal, tmp_path: Path, signed_in: Client) -> None:
    """Four of nine parts are in the store: the browser began, the terminal ends."""
    data, path = os.urandom(65 * MIB), tmp_path / "large.bin"
    path.write_bytes(data)
    begun = begin(
        signed_in, data, project=Project.objects.get().code, name="large.bin", sha256="",
        fingerprint=sha256(data[: 8 * MIB] + data[-8 * MIB :]), last_modified=path.stat().st_mtime_ns // 10**6,
    ).json()  # fmt: skip
    send(signed_in, begun, data, [1, 3, 5, 9])

    code, printed, _ = terminal.run(path)

    file = DataFile.objects.get()
    assert (code, printed.splitlines()[0]) == (0, f"verified  {sha256(data)}  large.bin")
    assert (file.code, file.state, file.part_count) == (begun["file"], "ready", 9)


def test_the_steps_with_curl_that_the_help_shows(terminal: Terminal, tmp_path: Path, signed_in: Client) -> None:
    shown = re.search(r'<div id="terminal">.*?<pre[^>]*>(.*?)</pre>', signed_in.get("/help/").content.decode(), re.S)
    assert shown
    _settings, _newline, steps = html.unescape(shown.group(1)).partition("\n")
    data = os.urandom(9 * MIB)
    (tmp_path / "売上 2026.bin").write_bytes(data)

    done = subprocess.run(
        ["sh", "-euc", steps], cwd=tmp_path, env={**terminal.environment, "FILE": "売上 2026.bin"}, capture_output=True
    )

    file = DataFile.objects.get()
    for _try in range(400):
        file.refresh_from_db()
        if file.state != FileState.VERIFYING:
            break
        time.sleep(0.05)
    assert (done.returncode, done.stderr, file.name, file.state) == (0, b"", "売上 2026.bin", "ready")
    assert (file.part_count, file.sha256) == (2, sha256(data))
    drafts.make_wanted(file.dataset_id)
    assert file.dataset.versions.count() == 1


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("C.UTF-8", GONE),
        (
            "ja_JP.UTF-8",
            "このアップロード用コマンドは、期限が切れたか取り消されました。新しいコマンドを作ってください。届いた分は残っています。",
        ),
    ],
)
def test_the_script_says_in_the_readers_language_what_is_wrong(
    terminal: Terminal, tmp_path: Path, language: str, sentence: str
) -> None:
    (tmp_path / "a.txt").write_text("a")

    code, printed, _ = terminal.run(tmp_path / "a.txt", PORTAL_TOKEN="old", LANG=language)

    assert (code, sentence in printed.splitlines()[0], DataFile.objects.count()) == (1, True, 0)


def test_the_script_begins_nothing_without_its_settings(terminal: Terminal, tmp_path: Path) -> None:
    answers = [terminal.run(tmp_path, PORTAL_TOKEN=""), terminal.run(tmp_path), terminal.run(tmp_path / "none")]

    assert [(code, said.splitlines()[-1]) for code, _, said in answers] == [
        (1, "Set PORTAL_URL and PORTAL_TOKEN. The portal's dataset page makes the command."),
        (2, "There is no file to send."),
        (2, f"{tmp_path}/none: there is no such file. Check the name."),
    ]
