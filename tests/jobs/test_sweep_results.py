from __future__ import annotations

import pytest

from portal.datasets import storage
from portal.jobs.models import Artifact, SweepTask
from portal.jobs.sweep_results import RESULT_MAX_BYTES, keep_result, result_of
from portal.jobs.sweeps import submit_sweep


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (
            b'{"loss": 0.25, "steps": 100, "model": "a", "ok": true}',
            {"loss": 0.25, "steps": 100, "model": "a", "ok": True},
        ),
        (b'{"nested": {"a": 1}, "list": [1], "none": null, "loss": 1}', {"loss": 1}),
        (b'{"loss": NaN, "big": Infinity, "small": -Infinity}', {}),
        (b'{"text": "%s"}' % (b"x" * 300), {"text": "x" * 200}),
        (b'{"a\\u0000b": 1, "c": "d\\u0000e"}', {"c": "de"}),
        (b"[1, 2]", {}),
        (b"not json", {}),
        (b"\xff\xfe", {}),
        (b"[" * 100_000, {}),
        (b"{%s}" % b",".join(b'"n%d": 1' % n for n in range(25)), {f"n{n}": 1 for n in range(20)}),
    ],
)
def test_what_is_kept_of_a_result(content: bytes, kept: dict[str, object]) -> None:
    assert result_of(content) == kept


def test_a_task_keeps_what_it_found_and_a_lone_job_does_not(
    funded, member, account, request_for, storage_ready, job
) -> None:
    sweep = submit_sweep(funded, request=request_for(cost_cap=20), points=[{"N": "1"}], key="k2", by=member)
    task = sweep.tasks.get()
    content = b'{"loss": 0.5}'
    storage.put_bytes("results/one", content)
    file = Artifact(job=task.job, path="result.json", size_bytes=len(content), sha256="", storage_key="results/one")
    keep_result(task.job, [file])
    keep_result(job, [file])
    assert list(SweepTask.objects.values_list("result", flat=True)) == [{"loss": 0.5}]


def test_a_large_result_is_left_alone(funded, member, account, request_for) -> None:
    sweep = submit_sweep(funded, request=request_for(cost_cap=20), points=[{"N": "1"}], key="k2", by=member)
    job = sweep.tasks.get().job
    file = Artifact(job=job, path="result.json", size_bytes=RESULT_MAX_BYTES + 1, sha256="", storage_key="nowhere")
    keep_result(job, [file])
    assert SweepTask.objects.get().result == {}
