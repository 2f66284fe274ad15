"""Quantities as whole numbers of their smallest unit. Hours and gigabytes exist only for display and for input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal


class GpuSeconds(int):
    """GPUs times seconds."""

    @classmethod
    def of(cls, *, gpus: int, seconds: int) -> GpuSeconds:
        return cls(gpus * seconds)

    @classmethod
    def from_hours(cls, hours: Decimal | int) -> GpuSeconds:
        """Whole seconds, rounded up: a limit given in hours is never cut short."""
        return cls((Decimal(hours) * 3600).to_integral_value(ROUND_CEILING))

    @property
    def hours(self) -> Decimal:
        """Exact to the precision of Decimal; not rounded for display."""
        return Decimal(self) / 3600


class Bytes(int):
    """Sizes are shown in decimal units (GB); part sizes and memory are counted in binary ones (MiB)."""

    @classmethod
    def from_mib(cls, mebibytes: int) -> Bytes:
        return cls(mebibytes * 1024**2)

    @classmethod
    def from_gb(cls, gigabytes: Decimal | int) -> Bytes:
        return cls((Decimal(gigabytes) * 1000**3).to_integral_value(ROUND_CEILING))

    @property
    def gb(self) -> Decimal:
        return Decimal(self) / 1000**3


@dataclass(frozen=True)
class HoursThatAddUp:
    """GPU-hours for a table with a total: cut to as many decimals, the parts as shown add up to their sum as shown."""

    decimals: int

    @classmethod
    def for_parts(cls, parts: Sequence[int]) -> HoursThatAddUp:
        """`parts` in GPU-seconds: one decimal, or three where one would show a part as nothing."""
        return cls(3 if any(0 < part < 360 for part in parts) else 1)

    def total(self, gpu_seconds: int) -> Decimal:
        """The nearest."""
        return (Decimal(gpu_seconds) / 3600).quantize(Decimal(1).scaleb(-self.decimals), ROUND_HALF_UP)

    def split(self, total: Decimal, parts: Sequence[int]) -> list[Decimal]:
        """What each part shows below `total`, the answer of `total` or of `split` for their sum. Each is cut off, and
        what is then missing goes to the largest remainders: none is off by a whole last digit."""
        cut = [divmod(part * 10**self.decimals, 3600) for part in parts]
        missing = int(total.scaleb(self.decimals)) - sum(whole for whole, _ in cut)
        raised = set(sorted(range(len(cut)), key=lambda n: -cut[n][1])[:missing])
        return [Decimal(whole + (n in raised)).scaleb(-self.decimals) for n, (whole, _) in enumerate(cut)]
