"""The script that every provider runs, run here for real by each shell and each download tool that is there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal.providers.bootstrap import BootstrapExit, Manifest, ManifestFile, bootstrap_script, render_manifest
from tests.providers.file_server import FileServer

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
BASIC = ["sh", "dash", "setsid", "mkdir", "chmod", "mkfifo", "tee", "cat", "cp", "mv", "rm", "ls", "tar", "gzip"]
BASIC += ["find", "sort", "grep", "sleep", "env", "kill", "wc", "base64", "sha256sum", "date", "rmdir"]
WEB = ["curl", "python3", "wget"]


@pytest.fixture
def store() -> Iterator[FileServer]:
    server = FileServer()
    yield server
    server.close()


def file(store: FileServer, path: str, data: bytes | str) -> ManifestFile:
    raw = data.encode() if isinstance(data, str) else data
    url = store.put(f"in/{hashlib.sha1(path.encode()).hexdigest()}?X-Amz-Signature=canary".partition("?")[0], raw)
    return ManifestFile(f"{url}?X-Amz-Signature=canary", hashlib.sha256(raw).hexdigest(), len(raw), path)


def start(
    store: FileServer, manifest: Manifest, work: Path, *, shell: str = "dash", path: str = "", **environment: str
) -> subprocess.Popen[bytes]:
    url = store.put("manifest", render_manifest(manifest))
    command = [shutil.which(shell) or shell, *(["sh"] if shell == "busybox" else []), "-c", bootstrap_script()]
    return subprocess.Popen(
        command,
        cwd=work,
        env={"PATH": path or os.environ["PATH"], "PORTAL_MANIFEST_URL": f"{url}?token=canary", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(store: FileServer, manifest: Manifest, work: Path, **more: str) -> tuple[int, str]:
    process = start(store, manifest, work, **more)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output.decode(errors="replace")


def tools(folder: Path, *names: str) -> str:
    """A PATH that holds these tools and the basic ones, and nothing else."""
    folder.mkdir()
    for name in [*BASIC, *names]:
        if where := shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/bin:/bin"):
            (folder / name).symlink_to(where)
    return str(folder)


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name.removeprefix("./"): stream.read()
            for member in archive
            if member.isfile() and (stream := archive.extractfile(member))
        }


@pytest.mark.parametrize("shell", SHELLS)
def test_stages_runs_and_saves(store: FileServer, tmp_path: Path, shell: str) -> None:
    manifest = Manifest(
        job="J-7K3M",
        command='./run.py "two words" && echo "$PORTAL_JOB" "$GREETING" "[$EMPTY]" "$LINES"',
        inputs=(file(store, "words/学習 用/日本 語.txt", "かな\n"), file(store, "empty.bin", b"")),
        scripts=(
            file(
                store,
                "run.py",
                "#!/usr/bin/env python3\nimport os, sys\nprint(sys.argv[1:], sys.stdin.read() == '')\n"
                "text = open(os.environ['PORTAL_DATA_DIR'] + '/words/学習 用/日本 語.txt').read()\n"
                "open(os.environ['PORTAL_OUTPUT_DIR'] + '/結果 1.txt', 'w').write(text.upper() + 'A')\n"
                "print('to stderr', file=sys.stderr)\n",
            ),
        ),
        environment={"GREETING": "こんにちは 'x' \"y\" $Z", "EMPTY": "", "LINES": "a\nb\n\n"},
        put_output_url=store.url("out.tar.gz?sig=canary"),
        put_log_url=store.url("log?sig=canary"),
    )
    code, printed = run(store, manifest, tmp_path, shell=shell)
    expected = "['two words'] True\nto stderr\nJ-7K3M こんにちは 'x' \"y\" $Z [] a\nb\n\n\n"
    assert (code, printed) == (0, expected)
    assert store.objects["log"].decode() == expected
    assert unpacked(store.objects["out.tar.gz"]) == {"結果 1.txt": "かな\nA".encode()}
    assert (tmp_path / "data/empty.bin").read_bytes() == b""
    assert sorted(item.name for item in (tmp_path / ".portal").iterdir()) == ["log"]


@pytest.mark.parametrize("web", WEB)
def test_any_one_download_tool_will_do(store: FileServer, tmp_path: Path, web: str) -> None:
    manifest = Manifest(
        job="J",
        command='cat "$PORTAL_DATA_DIR/a" && cp "$PORTAL_DATA_DIR/a" "$PORTAL_OUTPUT_DIR/b"',
        inputs=(file(store, "a", b"\x00\xffbytes\n"),),
        put_output_url=store.url("out"),
        put_log_url=store.url("log"),
    )
    (tmp_path / "work").mkdir()
    code, _ = run(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", web))
    assert (code, unpacked(store.objects["out"]), store.objects["log"]) == (
        0,
        {"b": b"\x00\xffbytes\n"},
        b"\x00\xffbytes\n",
    )


def test_no_download_tool_is_said_and_ends_with_97(store: FileServer, tmp_path: Path) -> None:
    code, printed = run(store, Manifest(job="J", command="true"), tmp_path, path=tools(tmp_path / "bin"))
    assert (code, printed) == (
        BootstrapExit.NO_TOOL,
        "portal: this image has none of curl, python3 and wget: one of them is needed to fetch the job\n",
    )


def test_no_tool_to_check_an_input_with_is_said_and_ends_with_97(store: FileServer, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    path = Path(tools(tmp_path / "bin", "curl"))
    (path / "sha256sum").unlink()
    manifest = Manifest(job="J", command="touch ran", inputs=(file(store, "a", b"bytes"),))
    assert run(store, manifest, tmp_path / "work", path=str(path)) == (
        BootstrapExit.NO_TOOL,
        "portal: this image has none of sha256sum, openssl and python3: one of them is needed to check what was"
        " fetched\n",
    )
    assert not (tmp_path / "work/ran").exists()


@pytest.mark.parametrize("web", WEB)
def test_a_refused_manifest_ends_with_95_and_shows_no_address(store: FileServer, tmp_path: Path, web: str) -> None:
    store.refuse.add("manifest")
    (tmp_path / "work").mkdir()
    manifest, path = Manifest(job="J", command="true"), tools(tmp_path / "bin", web)
    code, printed = run(store, manifest, tmp_path / "work", path=path, PORTAL_FETCH_PAUSE_S="1")
    assert (code, printed.splitlines()[-1]) == (BootstrapExit.NOT_STARTED, "portal: cannot fetch the job's manifest")
    assert "canary" not in printed and "127.0.0.1" not in printed


def test_a_store_that_begins_anew_keeps_a_job_waiting(store: FileServer, tmp_path: Path) -> None:
    store.refuse.add("manifest")
    (tmp_path / "work").mkdir()
    process = start(store, Manifest(job="J", command="echo ran"), tmp_path / "work")
    time.sleep(2)  # it has asked twice by then
    store.refuse.clear()
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.decode().splitlines()[-1]) == (0, "ran")


def test_a_cut_manifest_runs_nothing(store: FileServer, tmp_path: Path) -> None:
    process_manifest = Manifest(job="J", command="touch ran")
    process = start(store, process_manifest, tmp_path)
    process.kill()
    process.wait()
    shutil.rmtree(tmp_path / ".portal", ignore_errors=True)
    url = store.put("manifest", render_manifest(process_manifest).removesuffix("end\n"))
    done = subprocess.run(
        ["dash", "-c", bootstrap_script()],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PORTAL_MANIFEST_URL": url},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, (tmp_path / "ran").exists()) == (
        95,
        "portal: the job's manifest is cut or not ours\n",
        False,
    )


def test_an_input_that_changed_ends_with_96(store: FileServer, tmp_path: Path) -> None:
    item = file(store, "words.txt", "good")
    store.objects[item.url.split("/", 3)[3].partition("?")[0]] = b"evil"
    manifest = Manifest(job="J", command="touch ran", inputs=(item,), put_log_url=store.url("log"))
    code, printed = run(store, manifest, tmp_path)
    sentence = "portal: input words.txt has another checksum than the portal stored\n"
    assert (code, printed, store.objects["log"].decode()) == (96, sentence, sentence)
    assert not (tmp_path / "ran").exists()
    assert len([path for path in store.gets if path.startswith("in/")]) == 2  # one retry


def test_a_second_copy_ends_quietly_and_runs_nothing(store: FileServer, tmp_path: Path) -> None:
    manifest = Manifest(job="J", command="echo x >>ran")
    assert [run(store, manifest, tmp_path) for _ in range(2)] == [(0, ""), (BootstrapExit.SECOND_COPY, "")]
    assert (tmp_path / "ran").read_text() == "x\n"


def test_twenty_copies_at_once_run_once(store: FileServer, tmp_path: Path) -> None:
    manifest = Manifest(job="J", command="echo x >>ran")
    copies = [start(store, manifest, tmp_path) for _ in range(20)]
    for copy in copies:
        copy.communicate(timeout=60)
    assert sorted(copy.returncode for copy in copies) == [0] + [98] * 19
    assert (tmp_path / "ran").read_text() == "x\n"


@pytest.mark.parametrize("web", WEB)
@pytest.mark.parametrize("shell", SHELLS)
def test_of_copies_on_disks_of_their_own_the_portal_lets_one_run(
    store: FileServer, tmp_path: Path, web: str, shell: str
) -> None:
    manifest = Manifest(job="J", command=f"echo x >>{tmp_path}/ran", claim_url=store.claim_url("claim?token=canary"))
    path = tools(tmp_path / "bin", web)
    copies = []
    for number in range(4):
        (tmp_path / f"{number}").mkdir()
        copies.append(
            start(store, manifest, tmp_path / f"{number}", path=path, shell=shell, SAKURA_TASK_ID=f"task-{number}")
        )
    printed = [copy.communicate(timeout=60)[0] for copy in copies]
    assert (sorted(copy.returncode for copy in copies), printed) == ([0, 98, 98, 98], [b""] * 4)
    assert (tmp_path / "ran").read_text() == "x\n"
    assert sorted(form["remote_id"] for _path, form in store.claims) == ["task-0", "task-1", "task-2", "task-3"]
    assert len({form["copy"] for _path, form in store.claims}) == 4
    assert not list(tmp_path.glob("?/.portal/*"))


@pytest.mark.parametrize("web", WEB)
def test_a_copy_whose_claim_got_no_answer_asks_again_and_runs(store: FileServer, tmp_path: Path, web: str) -> None:
    store.lost_answers = 2
    manifest = Manifest(job="J", command="echo ran", claim_url=store.claim_url("claim?token=canary"))
    (tmp_path / "work").mkdir()
    code, printed = run(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", web))
    assert (code, printed, len(store.claims), len({form["copy"] for _, form in store.claims})) == (0, "ran\n", 3, 1)


@pytest.mark.parametrize("web", WEB)
def test_a_copy_runs_when_the_portal_is_back(store: FileServer, tmp_path: Path, web: str) -> None:
    store.refuse.add("claim")
    manifest = Manifest(job="J", command="echo ran", claim_url=store.claim_url("claim"))
    (tmp_path / "work").mkdir()
    process = start(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", web))
    while len(store.claims) < 2:
        time.sleep(0.05)
    store.refuse.clear()
    assert (process.communicate(timeout=60)[0], process.returncode) == (b"ran\n", 0)


@pytest.mark.parametrize("web", WEB)
@pytest.mark.parametrize("away", ["refuses", "is not there"])
def test_a_portal_that_stays_away_ends_the_copy_with_95(store: FileServer, tmp_path: Path, web: str, away: str) -> None:
    store.refuse.add("claim")
    url = store.claim_url("claim?token=canary") if away == "refuses" else "http://127.0.0.1:9/claim?token=canary"
    manifest = Manifest(job="J", command="echo ran", claim_url=url, put_log_url=store.url("log"))
    (tmp_path / "work").mkdir()
    path = tools(tmp_path / "bin", web)
    assert run(store, manifest, tmp_path / "work", path=path, PORTAL_CLAIM_WAIT_S="2") == (
        BootstrapExit.NOT_STARTED,
        "portal: the portal did not say whether this copy of the job may run\n",
    )
    assert (len(store.claims) > 1) == (away == "refuses")  # asked more than once


def test_a_stop_is_heard_while_the_portal_is_asked(store: FileServer, tmp_path: Path) -> None:
    store.refuse.add("claim")
    process = start(store, Manifest(job="J", command="echo ran", claim_url=store.claim_url("claim")), tmp_path)
    while len(store.claims) < 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    began = time.monotonic()
    assert (process.communicate(timeout=20)[0], process.returncode) == (b"", 143)
    assert time.monotonic() - began < 2


def test_a_second_copy_leaves_the_log_of_the_first_alone(store: FileServer, tmp_path: Path) -> None:
    store.claimed["claim"] = "the first"
    store.objects["log"] = b"the first one's"
    manifest = Manifest(job="J", command="echo ran", claim_url=store.claim_url("claim"), put_log_url=store.url("log"))
    assert run(store, manifest, tmp_path) == (BootstrapExit.SECOND_COPY, "")
    assert store.objects["log"] == b"the first one's"


def run_pushed(tmp_path: Path, manifest: Manifest, **files: bytes) -> tuple[int, str]:
    """As on a cluster that reaches nothing outside, by an image without any download tool."""
    pushed, work = tmp_path / "pushed", tmp_path / "work"
    pushed.mkdir()
    for name, data in files.items():
        (pushed / name.replace("_", "-")).write_bytes(data)
    (pushed / "manifest").write_text(render_manifest(manifest))
    environment = {
        "PATH": tools(tmp_path / "bin"),
        "PORTAL_WORK_DIR": str(work),
        "PORTAL_MANIFEST_FILE": str(pushed / "manifest"),
        "PORTAL_OUTPUT_ARCHIVE": str(tmp_path / "output.tar.gz"),
    }
    done = subprocess.run(
        ["dash", "-c", bootstrap_script()], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def pushed_file(name: str, data: bytes, path: str) -> ManifestFile:
    return ManifestFile(f"file:{name}", hashlib.sha256(data).hexdigest(), len(data), path)


def test_what_was_pushed_is_moved_into_place_without_a_network_or_a_download_tool(tmp_path: Path) -> None:
    manifest = Manifest(
        job="J",
        command='cat "$PORTAL_DATA_DIR/texts/日本 語.txt"; ./run.sh; env | grep -c PORTAL_MANIFEST',
        inputs=(pushed_file("input-0", "かな\n".encode(), "texts/日本 語.txt"),),
        scripts=(pushed_file("script", b'echo x >"$PORTAL_OUTPUT_DIR/x"', "run.sh"),),
        environment={"TOKEN": "canary"},
    )
    done = run_pushed(tmp_path, manifest, input_0="かな\n".encode(), script=b'echo x >"$PORTAL_OUTPUT_DIR/x"')
    assert done == (1, "かな\n0\n")  # grep counts none
    assert unpacked((tmp_path / "output.tar.gz").read_bytes()) == {"x": b"x\n"}
    assert not (tmp_path / "pushed").exists()
    assert not list(tmp_path.rglob("manifest"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "was not brought to this machine"),
        ({"input_0": b"goo"}, "has another size than the portal stored"),
        ({"input_0": b"evil"}, "has another checksum than the portal stored"),
    ],
)
def test_what_was_pushed_and_is_not_what_it_should_be_ends_with_96(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    manifest = Manifest(job="J", command="echo ran", inputs=(pushed_file("input-0", b"good", "a/words.txt"),))
    assert run_pushed(tmp_path, manifest, **files) == (96, f"portal: input a/words.txt {words}\n")


@pytest.mark.parametrize("url", ["file:../x", "file:a/b", "file:", "file:A", "file:a\n", "file:a b"])
def test_a_name_of_something_pushed_is_plain(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        render_manifest(Manifest(job="J", command="true", inputs=(ManifestFile(url, "0" * 64, 1, "a"),)))


LARGE = bytes(range(256)) * 400


def large(store: FileServer) -> Manifest:
    return Manifest(job="J", command='sha256sum <"$PORTAL_DATA_DIR/large"', inputs=(file(store, "large", LARGE),))


SUM = f"{hashlib.sha256(LARGE).hexdigest()}  -\n"


@pytest.mark.parametrize("web", WEB)
@pytest.mark.parametrize("shell", SHELLS)
def test_an_input_that_breaks_off_goes_on_where_it_broke(
    store: FileServer, tmp_path: Path, web: str, shell: str
) -> None:
    manifest, store.cuts = large(store), [10**6, len(LARGE) // 2, len(LARGE) // 4]  # the manifest comes first
    (tmp_path / "work").mkdir()
    done = run(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", web), shell=shell)
    assert (done, store.sent[1:]) == ((0, SUM), [len(LARGE) // 2, len(LARGE) // 4, len(LARGE) // 4])


@pytest.mark.parametrize("web", WEB)
def test_a_server_that_cannot_go_on_sends_the_whole_input_again(store: FileServer, tmp_path: Path, web: str) -> None:
    manifest, store.cuts, store.has_ranges = large(store), [10**6, len(LARGE) // 2], False
    (tmp_path / "work").mkdir()
    done = run(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", web))
    assert (done, store.sent[-1]) == ((0, SUM), len(LARGE))


def test_an_input_that_is_garbled_once_is_fetched_anew(store: FileServer, tmp_path: Path) -> None:
    manifest = large(store)
    path = next(path for path in store.objects if path.startswith("in/"))
    store.objects[path] = bytes(len(LARGE))
    process = start(store, manifest, tmp_path)
    while path not in store.gets:
        time.sleep(0.005)
    store.objects[path] = LARGE
    assert (process.communicate(timeout=60)[0].decode(), process.returncode) == (SUM, 0)


@pytest.mark.parametrize("web", WEB)
@pytest.mark.parametrize("length", [3, 5])
def test_an_input_of_another_size_ends_with_96(store: FileServer, tmp_path: Path, web: str, length: int) -> None:
    item = file(store, "words.txt", "good")
    store.objects[item.url.split("/", 3)[3].partition("?")[0]] = bytes(length)
    (tmp_path / "work").mkdir()
    manifest = Manifest(job="J", command="touch ran", inputs=(item,))
    assert run(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", web)) == (
        96,
        "portal: input words.txt has another size than the portal stored\n",
    )
    assert len([path for path in store.gets if path.startswith("in/")]) == 2


@pytest.mark.parametrize(("command", "expected"), [("exit 3", 3), ("kill -9 $$", 137), ("nothing-such", 127)])
def test_the_exit_code_is_the_commands(store: FileServer, tmp_path: Path, command: str, expected: int) -> None:
    assert run(store, Manifest(job="J", command=command), tmp_path)[0] == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stop_reaches_the_command_and_still_saves(store: FileServer, tmp_path: Path, shell: str) -> None:
    manifest = Manifest(
        job="J",
        command='echo kept >"$PORTAL_OUTPUT_DIR/part"; sh -c "echo child; sleep 60" & echo started; sleep 60; wait',
        put_output_url=store.url("out"),
        put_log_url=store.url("log"),
        log_every_s=1,
    )
    process = start(store, manifest, tmp_path, shell=shell)
    while b"started" not in store.objects.get("log", b""):
        time.sleep(0.05)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert (process.returncode, unpacked(store.objects["out"])) == (143, {"part": b"kept\n"})
    assert sorted(store.objects["log"].split()) == [b"child", b"started"]
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stopped_program_has_the_grace_to_save_though_its_shell_is_gone(
    store: FileServer, tmp_path: Path, shell: str
) -> None:
    program = "trap 'sleep 1; echo 7 >\"$PORTAL_OUTPUT_DIR/step\"; echo saved; exit 3' TERM; echo on; sleep 60 & wait"
    manifest = Manifest(
        job="J",
        command="sh program.sh; true",  # so that the shell stays between
        scripts=(file(store, "program.sh", program),),
        put_output_url=store.url("out"),
        put_log_url=store.url("log"),
        log_every_s=1,
    )
    process = start(store, manifest, tmp_path, shell=shell)
    while b"on" not in store.objects.get("log", b""):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert unpacked(store.objects["out"]) == {"step": b"7\n"}
    assert store.objects["log"] == b"on\nsaved\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_small_log_is_sent_within_seconds_while_the_command_runs(
    store: FileServer, tmp_path: Path, shell: str
) -> None:
    """Whatever the manifest says of large ones."""
    manifest = Manifest(job="J", command="sleep 2; echo one; sleep 60", put_log_url=store.url("log"), log_every_s=600)
    process = start(store, manifest, tmp_path, shell=shell)
    began = time.monotonic()
    while store.objects.get("log") != b"one\n" and time.monotonic() - began < 20:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert time.monotonic() - began < 15


def test_a_command_that_ignores_the_stop_is_killed(store: FileServer, tmp_path: Path) -> None:
    manifest = Manifest(
        job="J", command="trap '' TERM; echo on; while :; do sleep 1; done", put_log_url=store.url("log")
    )
    process = start(store, manifest, tmp_path, PORTAL_STOP_GRACE_S="1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert (process.returncode, store.objects["log"]) == (137, b"on\n")


def test_output_that_cannot_be_saved_is_no_success(store: FileServer, tmp_path: Path) -> None:
    store.refuse.add("out")
    manifest = Manifest(job="J", command='echo x >"$PORTAL_OUTPUT_DIR/x"', put_output_url=store.url("out"))
    code, printed = run(store, manifest, tmp_path)
    assert (code, printed.splitlines()[-1]) == (94, "portal: the output could not be saved")


def test_empty_output_is_fine(store: FileServer, tmp_path: Path) -> None:
    assert run(store, Manifest(job="J", command="true", put_output_url=store.url("out")), tmp_path) == (0, "")
    assert "out" not in store.objects


def test_output_is_packed_where_the_adapter_collects_it(store: FileServer, tmp_path: Path) -> None:
    manifest = Manifest(job="J", command='echo x >"$PORTAL_OUTPUT_DIR/x"; env | grep PORTAL_ | cut -d= -f1 | sort')
    code, printed = run(store, manifest, tmp_path, PORTAL_OUTPUT_ARCHIVE=str(tmp_path / "output.tar.gz"))
    assert (code, printed) == (0, "PORTAL_DATA_DIR\nPORTAL_JOB\nPORTAL_OUTPUT_DIR\n")
    assert unpacked((tmp_path / "output.tar.gz").read_bytes()) == {"x": b"x\n"}


def test_the_users_variables_cannot_disturb_the_bootstrap(store: FileServer, tmp_path: Path) -> None:
    manifest = Manifest(
        job="J",
        command='echo "$PATH"',
        environment={"PATH": "/nowhere", "IFS": "x", "LAST": "1"},
        put_log_url=store.url("log"),
    )
    assert run(store, manifest, tmp_path) == (0, "/nowhere\n")
    assert store.objects["log"] == b"/nowhere\n"


RUNNERS_OWN = ["command", "session", "own", "work", "code", "child", "group", "put_output", "put_log", "tab", "web"]
RUNNERS_OWN += ["name", "value", "kind", "tee_pid", "saver", "stopped", "decoder"]
SHELLS_OWN = ["IFS", "PATH", "HOME", "ENV", "BASH_ENV", "CDPATH", "SHELLOPTS", "BASHOPTS", "PS4", "TMPDIR", "UID"]
TOOLS_OWN = ["CURL_HOME", "http_proxy", "TAR_OPTIONS", "GZIP", "TAPE", "PYTHONPATH", "PYTHONHOME", "POSIXLY_CORRECT"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", [*RUNNERS_OWN, *SHELLS_OWN, *TOOLS_OWN])
def test_a_name_of_the_users_changes_nothing_but_the_command(
    store: FileServer, tmp_path: Path, name: str, shell: str
) -> None:
    store.objects.clear()
    manifest = Manifest(
        job="J",
        command='echo "ran $OTHER" && echo kept >"$PORTAL_OUTPUT_DIR/kept"',
        environment={name: "/nowhere echo HIJACKED", "OTHER": "too"},
        put_output_url=store.url("out"),
        put_log_url=store.url("log"),
    )
    code, printed = run(store, manifest, tmp_path, shell=shell)
    refused = f"portal: this image's shell does not let go of the variable {name}: it is left as it was\n"
    expected = (refused if shell == "bash" and name in ("UID", "SHELLOPTS", "BASHOPTS") else "") + "ran too\n"
    assert (code, printed, store.objects["log"].decode()) == (0, expected, expected)
    assert unpacked(store.objects["out"]) == {"kept": b"kept\n"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_gets_every_variable_as_it_was_given(store: FileServer, tmp_path: Path, shell: str) -> None:
    given = {name: f"/nowhere {name} $(echo no) '\n\n" for name in [*RUNNERS_OWN, "PATH", "HOME", "ENV", "TMPDIR"]}
    show = f"import json, os; print(json.dumps({{name: os.environ[name] for name in {list(given)}}}))"
    manifest = Manifest(job="J", command=shlex.join([sys.executable, "-c", show]), environment=given)
    code, printed = run(store, manifest, tmp_path, shell=shell)
    assert (code, json.loads(printed)) == (0, given)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_preloaded_library_is_loaded_by_the_command_alone(store: FileServer, tmp_path: Path, shell: str) -> None:
    manifest = Manifest(
        job="J",
        command='echo ran; echo kept >"$PORTAL_OUTPUT_DIR/kept"',
        environment={"LD_PRELOAD": "/nowhere/lib.so"},
        put_output_url=store.url("out"),
        put_log_url=store.url("log"),
    )
    code, printed = run(store, manifest, tmp_path, shell=shell)
    *loader, last = printed.splitlines()
    assert (code, last, unpacked(store.objects["out"])) == (0, "ran", {"kept": b"kept\n"})
    assert len(loader) == 2 and all("LD_PRELOAD" in line for line in loader)  # setsid and sh, no download, no tar


@pytest.mark.parametrize("name", ["data", "output"])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_named_like_a_directory_is_refused_and_not_run(
    store: FileServer, tmp_path: Path, name: str, shell: str
) -> None:
    script = file(store, "x", "echo ran\n")
    with pytest.raises(ValueError, match="the portal makes a directory of that name"):
        render_manifest(Manifest(job="J", command=f"sh ./{name}", scripts=(replace(script, path=name),)))
    # An older manifest, or a directory that the image has there.
    (tmp_path / "folder").mkdir()
    manifest = Manifest(job="J", command="sh ./folder", scripts=(replace(script, path="folder"),))
    assert run(store, manifest, tmp_path, shell=shell) == (
        BootstrapExit.NOT_STARTED,
        "portal: cannot write the file folder: a directory has this name\n",
    )


def test_inputs_named_like_a_download_under_way_are_all_there(store: FileServer, tmp_path: Path) -> None:
    inputs = (file(store, "a.part", "first"), file(store, "a", "second"))
    manifest = Manifest(job="J", command='cd "$PORTAL_DATA_DIR" && cat a.part a', inputs=inputs)
    assert run(store, manifest, tmp_path) == (0, "firstsecond")


def test_a_script_named_like_a_python_module_is_not_imported_by_the_bootstrap(
    store: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    manifest = Manifest(
        job="J",
        command='echo x >"$PORTAL_OUTPUT_DIR/x"',
        scripts=(file(store, "socket.py", "raise SystemExit('imported')\n"),),
        put_output_url=store.url("out"),
    )
    assert run(store, manifest, tmp_path / "work", path=tools(tmp_path / "bin", "python3")) == (0, "")
    assert unpacked(store.objects["out"]) == {"x": b"x\n"}


@pytest.mark.parametrize("code", list(BootstrapExit))
def test_a_command_cannot_end_with_a_code_of_the_bootstraps(store: FileServer, tmp_path: Path, code: int) -> None:
    manifest = Manifest(job="J", command=f"exit {int(code)}", put_log_url=store.url("log"))
    said = f"portal: the command ended with exit code {int(code)}, which the portal uses itself: reported as 1\n"
    assert run(store, manifest, tmp_path) == (1, said)
    assert store.objects["log"].decode() == said


@pytest.mark.parametrize(
    "path", ["../up", "/etc/passwd", "a//b", "a/./b", "a/..", "", "tab\there", "line\nbreak", "nul\0"]
)
def test_a_path_that_the_format_cannot_carry_is_refused(path: str) -> None:
    item = ManifestFile("http://s3/x", "0" * 64, 1, path)
    with pytest.raises(ValueError):
        render_manifest(Manifest(job="J", command="true", inputs=(item,)))


@pytest.mark.parametrize("url", ["ftp://s3/x", 'http://s3/"', "http://s3/a b", "http://s3/x\n", "http://s3/\\"])
def test_an_address_that_could_break_out_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        render_manifest(Manifest(job="J", command="true", put_log_url=url))


def test_the_manifest_as_text() -> None:
    item = ManifestFile("http://s3/x?a=b", "a" * 64, 5, "dir/日本.txt")
    assert render_manifest(
        Manifest(
            job="J-1",
            command="echo",
            inputs=(item,),
            scripts=(item,),
            environment={"A": "b"},
            claim_url="http://p/c",
            put_output_url="http://s3/o",
            put_log_url="http://s3/l",
        )
    ) == (
        "portal-manifest\t1\njob\tJ-1\ncommand\tZWNobw==\nclaim\thttp://p/c\n"
        f"input\thttp://s3/x?a=b\t{'a' * 64}\t5\tdir/日本.txt\nscript\thttp://s3/x?a=b\t{'a' * 64}\t5\tdir/日本.txt\n"
        "env\tA\tYg==\nput-output\thttp://s3/o\nput-log\thttp://s3/l\nlog-every\t10\nend\n"
    )
    assert "http" not in repr(item)
