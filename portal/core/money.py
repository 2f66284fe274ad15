"""Money: an exact decimal and its currency. Kept at full precision; rounded once, by a policy with a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from functools import total_ordering
from typing import Literal

Policy = Literal["down_to_yen", "half_up_to_yen", "up_to_yen"]


class CurrencyMismatch(TypeError):
    """Amounts of two currencies cannot be added or compared."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """Same currency only; times whole or decimal numbers only. A float is refused everywhere."""

    amount: Decimal
    currency: str = "JPY"

    def __post_init__(self) -> None:
        if isinstance(self.amount, int) and not isinstance(self.amount, bool):
            object.__setattr__(self, "amount", Decimal(self.amount))
        elif not isinstance(self.amount, Decimal):
            raise TypeError(f"Money needs a Decimal, not {type(self.amount).__name__}.")
        if not self.amount.is_finite():
            raise ValueError("Money is a finite number.")

    def rounded(self, policy: Policy) -> Money:
        """A whole number of yen. Once, at the end: for a charge shown, an invoice line, a tax amount."""
        return Money(POLICIES[policy](self.amount), self.currency)

    def with_tax(self, rate: Decimal) -> Money:
        """Tax included, not rounded. `rate` is a fraction: Decimal("0.10")."""
        return self * (1 + rate)

    def without_tax(self, rate: Decimal) -> Money:
        """The part before tax of an amount that includes it, not rounded."""
        return Money(self.amount / (1 + rate), self.currency)

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other).amount, self.currency)

    def __mul__(self, factor: Decimal | int) -> Money:
        if isinstance(factor, (bool, float)) or not isinstance(factor, (Decimal, int)):
            return NotImplemented
        return Money(self.amount * factor, self.currency)

    __rmul__ = __mul__

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __bool__(self) -> bool:
        return self.amount != 0

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other).amount

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def _same(self, other: Money) -> Money:
        if not isinstance(other, Money):
            raise TypeError(f"Money and {type(other).__name__} cannot be combined.")
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return other


def yen(amount: Decimal | int | str) -> Money:
    """`yen(1200)`, `yen("0.28")`."""
    return Money(Decimal(amount) if isinstance(amount, str) else amount)  # type: ignore[arg-type]  # int is converted


def total(amounts: Iterable[Money]) -> Money:
    """The sum; zero yen of nothing."""
    result: Money | None = None
    for amount in amounts:
        result = amount if result is None else result + amount
    return yen(0) if result is None else result


# Down and up are seen from zero: a refund of 0.5 yen is rounded like a charge of 0.5 yen, only with its sign.
POLICIES: dict[Policy, Callable[[Decimal], Decimal]] = {
    "down_to_yen": lambda amount: amount.quantize(Decimal(1), ROUND_DOWN),
    "half_up_to_yen": lambda amount: amount.quantize(Decimal(1), ROUND_HALF_UP),
    "up_to_yen": lambda amount: amount.quantize(Decimal(1), ROUND_UP),
}
