from portal.jobs.placement.nearest import nearest
from portal.jobs.placement.rule import POLICY, Reason, Refusal, Why, place
from tests.jobs.placement.offers import NOW, offer, spec


def test_the_plan_that_breaks_fewest_needs_is_nearest_one_for_each_way_out() -> None:
    """No plan has eight GPUs with 96 GB: four with 96 GB exist, and eight with 80."""
    some = [
        offer("small", memory_gb=96, gpus_max=2),
        offer("four", memory_gb=96, gpus_max=4),
        offer("eighty", memory_gb=80),
        offer("forty", memory_gb=40),
        offer("wrong in two", memory_gb=40, architecture="arm64"),
    ]
    decision = place(spec(gpus=8, memory_gb=96), some, at=NOW, policy=POLICY)
    assert nearest(decision) == [
        Refusal("four", (Reason(Why.GPUS, {"nearest": 4}),)),
        Refusal("eighty", (Reason(Why.MEMORY, {"has_gb": 80}),)),
    ]


def test_without_any_plan_nothing_is_near() -> None:
    assert nearest(place(spec(), [], at=NOW, policy=POLICY)) == []
