from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from portal.core.units import Bytes, GpuSeconds, HoursThatAddUp


def test_gpu_seconds_from_gpus_and_from_hours_never_short() -> None:
    assert GpuSeconds.of(gpus=8, seconds=3600) == GpuSeconds.from_hours(8) == 28_800
    assert GpuSeconds.from_hours(Decimal("0.0001")) == 1
    assert GpuSeconds(5400).hours == Decimal("1.5")


def test_bytes_decimal_for_people_binary_for_parts() -> None:
    assert Bytes.from_mib(16) == 16_777_216
    assert Bytes.from_gb(Decimal("16.1")) == 16_100_000_000
    assert Bytes(2_500_000_000).gb == Decimal("2.5")


@given(st.lists(st.lists(st.integers(0, 10_000_000), max_size=6), max_size=6))
def test_hours_of_a_table_add_up_in_every_level_and_are_cut_or_raised_by_less_than_a_digit(
    table: list[list[int]],
) -> None:
    hours = HoursThatAddUp.for_parts([seconds for group in table for seconds in group])
    sums = [sum(group) for group in table]
    whole = hours.total(sum(sums))
    groups = hours.split(whole, sums)
    cells = [hours.split(shown, group) for shown, group in zip(groups, table, strict=True)]
    assert (sum(groups), [sum(shown) for shown in cells]) == (whole, groups)
    digit = Decimal(1).scaleb(-hours.decimals)
    pairs = [
        *zip(groups, sums, strict=True),
        *((c, s) for cs, g in zip(cells, table, strict=True) for c, s in zip(cs, g, strict=True)),
    ]
    assert [pair for pair in pairs if abs(pair[0] - Decimal(pair[1]) / 3600) >= digit] == []
    assert [shown for shown, seconds in pairs if seconds >= 4 and not shown] == []


def test_hours_show_three_decimals_where_one_would_show_nothing() -> None:
    few, many = HoursThatAddUp.for_parts([141, 2, 45]), HoursThatAddUp.for_parts([360, 0, 7_200])
    assert [str(h) for h in (few.total(188), *few.split(few.total(188), [141, 2, 45]))] == [
        "0.052", "0.039", "0.001", "0.012",
    ]  # fmt: skip
    assert [str(h) for h in (many.total(7_560), *many.split(many.total(7_560), [360, 0, 7_200]))] == [
        "2.1", "0.1", "0.0", "2.0",
    ]  # fmt: skip
