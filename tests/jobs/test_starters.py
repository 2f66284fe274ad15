"""Every starter is run for real, as a provider's machine runs it: python3, a folder of inputs, a folder for results."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from portal.jobs.request import TIME_LIMIT_MAX_S, TIME_LIMIT_MIN_S
from portal.jobs.starters import STARTERS, starter

TEXT = "GPUで学習する。学習は楽しい!\nDon't stop; don't STOP.\n"


def run(slug: str, folder: Path, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    found = starter(slug)
    assert found is not None
    (folder / "in").mkdir(exist_ok=True)
    (folder / found.script_name).write_text(found.script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, found.script_name],
        cwd=folder,
        env=_environment(folder, env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def _environment(folder: Path, more: dict[str, str] | None) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONUTF8": "1",
        "PORTAL_DATA_DIR": str(folder / "in"),
        "PORTAL_OUTPUT_DIR": str(folder / "out"),
        **(more or {}),
    }


def test_slugs_are_unique_and_every_starter_is_complete():
    assert [s.slug for s in STARTERS] == ["word-statistics", "train-digits", "failing", "countdown"]
    for each in STARTERS:
        assert each.script.startswith('"""')
        assert each.usual_s >= TIME_LIMIT_MIN_S or each.usual_s < each.time_limit_s <= TIME_LIMIT_MAX_S
        assert str(each.name) and str(each.description) and str(each.results)
    assert starter("nothing-like-that") is None


def test_word_statistics_counts_japanese_and_english(tmp_path):
    (tmp_path / "in" / "texts").mkdir(parents=True)
    (tmp_path / "in" / "texts" / "words.txt").write_text(TEXT, encoding="utf-8")

    done = run("word-statistics", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert list(csv.reader((tmp_path / "out" / "counts.csv").read_text(encoding="utf-8").splitlines())) == [
        ["word", "count"],
        ["don't", "2"],
        ["stop", "2"],
        ["学習", "2"],
        ["gpu", "1"],
        ["しい", "1"],
        ["する", "1"],
        ["で", "1"],
        ["は", "1"],
        ["楽", "1"],
    ]
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["files"] == [
        {
            "path": "texts/words.txt",
            "bytes": len(TEXT.encode()),
            "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
            "lines": 2,
            "characters": 36,
            "words": 12,
        }
    ]


def test_word_statistics_gives_the_same_bytes_wherever_it_runs(tmp_path):
    outputs = []
    for place, env in (
        ("one", {"LC_ALL": "C", "PYTHONHASHSEED": "1"}),
        ("two", {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2"}),
    ):
        (tmp_path / place / "in" / "texts").mkdir(parents=True)
        (tmp_path / place / "in" / "texts" / "words.txt").write_text(TEXT * 50, encoding="utf-8")
        assert run("word-statistics", tmp_path / place, env=env).returncode == 0
        outputs.append({p.name: p.read_bytes() for p in (tmp_path / place / "out").iterdir()})
    assert outputs[0] == outputs[1]
    assert sorted(outputs[0]) == ["counts.csv", "summary.json"]


def test_word_statistics_without_a_file_says_so(tmp_path):
    done = run("word-statistics", tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "No input file. Choose a text file for this job and submit it again.\n",
    )


def test_training_learns_and_saves_weights_and_a_picture(tmp_path):
    done = run("train-digits", tmp_path, env={"EPOCHS": "8", "HOME": "/nonexistent"})

    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^epoch +\d+/8  loss ", done.stdout, re.MULTILINE)) == 8
    rows = list(csv.DictReader((tmp_path / "out" / "metrics.csv").open(encoding="utf-8")))
    assert float(rows[-1]["accuracy"]) > 0.9 > float(rows[-1]["test_loss"])
    assert (tmp_path / "out" / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with zipfile.ZipFile(tmp_path / "out" / "weights.npz") as weights:
        assert sorted(weights.namelist()) == ["bias_0.npy", "bias_1.npy", "weights_0.npy", "weights_1.npy"]


def test_failing_ends_with_a_traceback_and_keeps_what_it_wrote(tmp_path):
    done = run("failing", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert done.stderr.splitlines()[-1] == "KeyError: 'hidden_size'"
    assert json.loads((tmp_path / "out" / "partial.json").read_text())["steps_done"] == 1


@pytest.mark.parametrize("earlier", [0, 5])
def test_countdown_saves_a_checkpoint_when_stopped_and_goes_on_from_one(tmp_path, earlier):
    script = starter("countdown")
    (tmp_path / "in" / "old").mkdir(parents=True)
    if earlier:
        (tmp_path / "in" / "old" / "checkpoint.json").write_text(json.dumps({"done": earlier, "of": 600}))
    (tmp_path / script.script_name).write_text(script.script, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, script.script_name],
        cwd=tmp_path,
        env=_environment(tmp_path, {"SECONDS_PER_STEP": "0.05"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"step {earlier + 3}/600"):
            process.send_signal(signal.SIGTERM)
            break
    lines += process.communicate(timeout=20)[0].splitlines(keepends=True)

    saved = json.loads((tmp_path / "out" / "checkpoint.json").read_text())
    assert process.returncode == 143
    assert saved == {"done": saved["done"], "of": 600} and saved["done"] >= earlier + 3
    assert lines[-1] == f"Asked to stop: saved checkpoint.json at step {saved['done']}.\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint.json"]
