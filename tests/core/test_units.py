from decimal import Decimal

from portal.core.units import Bytes, GpuSeconds


def test_gpu_seconds_from_gpus_and_from_hours_never_short() -> None:
    assert GpuSeconds.of(gpus=8, seconds=3600) == GpuSeconds.from_hours(8) == 28_800
    assert GpuSeconds.from_hours(Decimal("0.0001")) == 1
    assert GpuSeconds(5400).hours == Decimal("1.5")


def test_bytes_decimal_for_people_binary_for_parts() -> None:
    assert Bytes.from_mib(16) == 16_777_216
    assert Bytes.from_gb(Decimal("16.1")) == 16_100_000_000
    assert Bytes(2_500_000_000).gb == Decimal("2.5")
