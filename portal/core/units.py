"""Quantities as whole numbers of their smallest unit. Hours and gigabytes exist only for display and for input."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal


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
