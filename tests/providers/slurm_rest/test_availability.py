from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from portal.providers.slurm_rest.availability import architectures_by_partition, free_by_partition
from tests.providers.hostile import JSON


def test_free_gpus_of_good_nodes_only() -> None:
    nodes = [
        {"state": "mixed", "partitions": ["a", "b"], "gres": "gpu:h200:8(S:0-1)", "gres_used": "gpu:h200:3(IDX:0-2)"},
        {"state": ["IDLE"], "partitions": ["a"], "gres": "gpu:4", "gres_used": "gpu:0"},
        {"state": ["IDLE", "DRAIN"], "partitions": ["a"], "gres": "gpu:h200:8", "gres_used": ""},
        {"state": "down*", "partitions": ["b"], "gres": "gpu:h200:8", "gres_used": ""},
    ]
    assert free_by_partition(nodes) == {"a": 9, "b": 5}


def test_no_nodes_are_no_partitions() -> None:
    assert free_by_partition([]) == {}


def test_more_used_than_there_is_counts_as_nothing_free() -> None:
    assert free_by_partition([{"state": "mixed", "partitions": "a", "gres": "gpu:2", "gres_used": "gpu:3"}]) == {"a": 0}


def test_other_resources_are_no_gpus() -> None:
    there = "shard:8,gpu:a100:2(S:0),gpu:h200:1,licence:4"
    assert free_by_partition([{"state": "IDLE", "partitions": ["a"], "gres": there, "gres_used": ""}]) == {"a": 3}


@given(st.dictionaries(st.sampled_from(["state", "state_flags", "partitions", "gres", "gres_used"]), JSON))
def test_any_json_is_read_without_surprise(raw: dict[str, Any]) -> None:
    free_by_partition([raw])


def test_a_partition_that_nobody_could_store_is_left_out_and_the_others_stay() -> None:
    node = {"state": "IDLE", "partitions": ["g\0", "\ud800", "", "a\n", "a"], "gres": "gpu:4", "gres_used": ""}
    assert free_by_partition([node]) == {"a": 4}


def test_more_free_gpus_than_any_cluster_has_are_not_said() -> None:
    node = {"state": "IDLE", "partitions": ["a"], "gres": ",".join(["gpu:99999"] * 22_000), "gres_used": ""}
    assert free_by_partition([node, {**node, "partitions": ["b"], "gres": "gpu:4"}]) == {"b": 4}


def test_processors_by_partition() -> None:
    nodes = [
        {"architecture": "x86_64", "partitions": ["gpu", "all"]},
        {"architecture": "aarch64", "partitions": "grace,all"},
        {"architecture": "", "partitions": ["gpu"]},
        {"partitions": ["gpu"]},
    ]
    assert architectures_by_partition(nodes) == {"gpu": {"amd64"}, "all": {"amd64", "arm64"}, "grace": {"arm64"}}
