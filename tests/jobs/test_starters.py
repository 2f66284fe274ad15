"""Every starter is run for real, as a provider's machine runs it: python3, a folder of inputs, a folder for results."""

import csv
import hashlib
import json
import os
import platform
import re
import signal
import socket
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
    (folder / "in").mkdir(parents=True, exist_ok=True)
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
    assert [s.slug for s in STARTERS] == [
        "first-script", "word-statistics", "train-digits", "evaluate-digits", "sweep-digits", "prepare-data", "convert",
        "benchmark", "ranks", "failing", "countdown",
    ]  # fmt: skip
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


def test_the_first_script_says_what_the_machine_has(tmp_path):
    done = run("first-script", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "out" / "machine.json").read_text(encoding="utf-8"))
    assert list(told) == ["python", "system", "processors", "memory_gib", "free_disk_gib", "gpus"]
    assert told["python"] == platform.python_version() and told["processors"] >= 1
    assert done.stdout.splitlines()[0] == f"python: {platform.python_version()}"
    assert done.stdout.splitlines()[-1] == "Saved machine.json."


def test_evaluation_measures_the_weights_that_training_left(tmp_path):
    run("train-digits", tmp_path, env={"EPOCHS": "8"})
    trained = float(list(csv.DictReader((tmp_path / "out" / "metrics.csv").open(encoding="utf-8")))[-1]["accuracy"])
    (tmp_path / "eval" / "in" / "digits").mkdir(parents=True)
    (tmp_path / "out" / "weights.npz").rename(tmp_path / "eval" / "in" / "digits" / "weights.npz")

    done = run("evaluate-digits", tmp_path / "eval", env={"MIN_ACCURACY": "0.9"})

    assert (done.returncode, done.stderr) == (0, "")
    metrics = json.loads((tmp_path / "eval" / "out" / "metrics.json").read_text())
    assert {**metrics, "f1": 0} == {
        "model": "digits/weights.npz",
        "images": 360,
        "accuracy": round(trained, 4),
        "f1": 0,
    }
    rows = list(csv.DictReader((tmp_path / "eval" / "out" / "report.csv").open(encoding="utf-8")))
    assert [row["digit"] for row in rows] == [str(n) for n in range(10)]
    assert sum(int(row["images"]) for row in rows) == 360
    assert (tmp_path / "eval" / "out" / "confusion.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_evaluation_without_weights_measures_the_simplest_model_and_fails_where_it_is_not_good_enough(tmp_path):
    done = run("evaluate-digits", tmp_path, env={"MIN_ACCURACY": "0.99"})
    assert (done.returncode, done.stderr) == (1, "The accuracy is below MIN_ACCURACY (99.0%).\n")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["model"] == "nearest mean image" and 0.8 < metrics["accuracy"] < 0.99


def test_a_sweep_tries_every_combination_and_names_the_best(tmp_path):
    done = run("sweep-digits", tmp_path, env={"HIDDEN": "2,32", "RATES": "0.0001,0.01", "EPOCHS": "4"})

    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open(encoding="utf-8")))
    assert sorted((row["hidden"], row["rate"]) for row in rows) == [
        ("2", "0.0001"), ("2", "0.01"), ("32", "0.0001"), ("32", "0.01"),
    ]  # fmt: skip
    assert [row["accuracy"] for row in rows] == sorted((row["accuracy"] for row in rows), key=float, reverse=True)
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert (best["hidden"], best["rate"]) == (32, 0.01) and best["accuracy"] == float(rows[0]["accuracy"])


def test_prepared_data_is_clean_split_and_the_same_bytes_in_any_order(tmp_path):
    good = [f"{n},{n / 2},{'odd' if n % 2 else 'even'}" for n in range(200)]
    broken = ["7,,odd", "1,2", good[0]]
    outputs = []
    for place, rows in (("one", [*good, *broken]), ("two", [*reversed(good), *broken])):
        (tmp_path / place / "in" / "table").mkdir(parents=True)
        for name, part in (("a.csv", rows[:100]), ("b.csv", rows[100:])):
            text = "\n".join(["number,half,kind", *part]) + "\n"
            (tmp_path / place / "in" / "table" / name).write_text(text, encoding="utf-8")
        done = run("prepare-data", tmp_path / place)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append({p.name: p.read_text(encoding="utf-8") for p in (tmp_path / place / "out").iterdir()})

    report = json.loads(outputs[0]["report.json"])
    assert report == {
        "files": 2,
        "columns": {"number": {"least": 0, "most": 199}, "half": {"least": 0, "most": 99.5}, "kind": {"different": 2}},
        "rows": report["rows"],
        "left_out": {"empty cell": 1, "wrong number of cells": 1, "there before": 1},
    }
    kept = {name: outputs[0][f"{name}.csv"].splitlines() for name in ("train", "test")}
    assert {name: len(rows) - 1 for name, rows in kept.items()} == report["rows"]
    assert sorted(kept["train"][1:] + kept["test"][1:]) == sorted(good) and 20 <= len(kept["test"]) <= 60
    assert {name: sorted(text.splitlines()) for name, text in outputs[0].items()} == {
        name: sorted(text.splitlines()) for name, text in outputs[1].items()
    }


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "No .csv file. Choose a dataset of CSV files for this job and submit it again."),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x\n1\n"}, "b.csv: its columns are ['x'], those of a.csv are ['x', 'y']."),
    ],
)
def test_data_that_cannot_be_prepared_is_told_in_a_sentence(tmp_path, files, sentence):
    (tmp_path / "in").mkdir()
    for name, text in files.items():
        (tmp_path / "in" / name).write_text(text, encoding="utf-8")
    done = run("prepare-data", tmp_path)
    assert (done.returncode, done.stderr) == (1, sentence + "\n")


def test_conversion_keeps_every_cell_as_it_was(tmp_path):
    (tmp_path / "in" / "table").mkdir(parents=True)
    (tmp_path / "in" / "table" / "a.csv").write_text(
        '\ufeffid,price,name\n007,1.5,"東京, 大阪"\n8,1.50,"two\nlines"\n-9,nan,\n', encoding="utf-8"
    )
    (tmp_path / "in" / "table" / "a.tsv").write_text("n\tbig\n1\t123456789012345678901\n", encoding="utf-8")

    done = run("convert", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "out"
    assert [json.loads(line) for line in (out / "table" / "a.csv.jsonl").read_text(encoding="utf-8").splitlines()] == [
        {"id": "007", "price": 1.5, "name": "東京, 大阪"},
        {"id": 8, "price": "1.50", "name": "two\nlines"},
        {"id": -9, "price": "nan", "name": ""},
    ]
    content = (out / "table" / "a.tsv.jsonl").read_bytes()
    assert content == b'{"n": 1, "big": 123456789012345678901}\n'
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))[1] == {
        "from": "table/a.tsv",
        "to": "table/a.tsv.jsonl",
        "rows": 1,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No .csv or .tsv file. Choose a dataset that has some for this job and submit it again."),
        ("a,a\n1,2\n", "a.csv: two columns have the same name."),
        ("a,b\n1\n", "a.csv, row 2: 1 cells where there are 2 columns."),
    ],
)
def test_what_cannot_be_converted_is_told_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "in").mkdir()
    if text:
        (tmp_path / "in" / "a.csv").write_text(text, encoding="utf-8")
    done = run("convert", tmp_path)
    assert (done.returncode, done.stderr) == (1, sentence + "\n")


def test_a_benchmark_measures_four_things_and_leaves_no_block_behind(tmp_path):
    done = run("benchmark", tmp_path, env={"SECONDS": "0", "MATRIX": "64", "FILE_MB": "1"})

    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert [(one["measure"], one["unit"], one["rounds"]) for one in told["results"]] == [
        ("matrix product", "GFLOPS", 3),
        ("memory copy", "GB/s", 3),
        ("disk write", "MB/s", 3),
        ("disk read (cached)", "MB/s", 3),
    ]
    assert all(one["best"] > 0 for one in told["results"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["benchmark.csv", "benchmark.json"]


def test_ranks_on_one_node_without_a_launcher_is_rank_0_of_1(tmp_path):
    done = run("ranks", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"rank 0 of 1 on {socket.gethostname()} (no launcher)",
        "Saved ranks.json. Ranks: 1, nodes: 1",
    ]


@pytest.mark.parametrize(
    ("launcher", "rank", "size"),
    [("torchrun", "RANK", "WORLD_SIZE"), ("Slurm", "SLURM_PROCID", "SLURM_NTASKS")],
)
def test_ranks_hear_of_each_other_over_the_network(tmp_path, launcher, rank, size):
    found = starter("ranks")
    (tmp_path / found.script_name).write_text(found.script, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, found.script_name],
            cwd=tmp_path,
            env=_environment(tmp_path, {rank: str(n), size: "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}),
        )
        for n in (2, 1, 0)
    ]
    assert [process.wait(timeout=90) for process in processes] == [0, 0, 0]
    told = json.loads((tmp_path / "out" / "ranks.json").read_text())
    assert (told["launcher"], told["nodes"], [one["rank"] for one in told["ranks"]]) == (launcher, 1, [0, 1, 2])


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({}, "MASTER_ADDR is not set: the ranks do not know where rank 0 is."),
        ({"MASTER_ADDR": "127.0.0.1", "WAIT_S": "0.2"}, "Only 1 of 2 ranks came within 0.2 s."),
    ],
)
def test_ranks_that_do_not_meet_fail_with_a_sentence(tmp_path, env, sentence):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = run("ranks", tmp_path, env={"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": str(port), **env})
    assert (done.returncode, done.stderr) == (1, sentence + "\n")


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
