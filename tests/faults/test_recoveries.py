"""The seconds that are told are those that were noted."""

from __future__ import annotations

from tests.faults import recoveries


def test_each_kind_is_told_by_itself_with_its_p50_p99_and_longest() -> None:
    properties = [("recovered: ended", f"{second} test_{second}[a b]") for second in range(200, 0, -1)]
    assert recoveries.told([*properties, ("recovered: handed over", "2.5 test_x"), ("another", 1)]) == [
        "all ended after the last fault: n 200, p50 101.0 s, p99 199.0 s, max 200.0 s (test_200[a b])",
        "all handed over after the last fault: n 1, p50 2.5 s, p99 2.5 s, max 2.5 s (test_x)",
    ]
    assert recoveries.told([]) == []
