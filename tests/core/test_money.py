from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.money import POLICIES, CurrencyMismatch, Money, total, yen

amounts = st.decimals(min_value=-(10**9), max_value=10**9, places=6)


def test_adding_scaling_and_comparing_keep_full_precision() -> None:
    assert yen("0.28") * 3600 + yen(1) - yen("0.5") == yen("1008.5")
    assert 3 * yen("0.1") == yen("0.3")
    assert -yen(5) == yen(-5)
    assert sorted([yen(3), yen(-1), yen("2.5")]) == [yen(-1), yen("2.5"), yen(3)]
    assert (bool(yen(0)), bool(yen("0.01"))) == (False, True)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("down_to_yen", {"1.5": 1, "0.999": 0, "-0.5": 0, "-1.5": -1, "2": 2}),
        ("half_up_to_yen", {"1.5": 2, "1.49": 1, "-1.5": -2, "2": 2}),
        ("up_to_yen", {"1.01": 2, "-1.01": -2, "2": 2}),
    ],
)
def test_each_policy_rounds_as_its_name_says(policy: str, expected: dict[str, int]) -> None:
    assert {text: yen(text).rounded(policy) for text in expected} == {t: yen(n) for t, n in expected.items()}  # type: ignore[arg-type]


@given(amounts, st.sampled_from(sorted(POLICIES)))
def test_rounding_is_stable_whole_and_the_same_for_a_refund(amount: Decimal, policy: str) -> None:
    once = Money(amount).rounded(policy)  # type: ignore[arg-type]
    assert once.rounded(policy) == once  # type: ignore[arg-type]
    assert once.amount == once.amount.to_integral_value()
    assert (-Money(amount)).rounded(policy) == -once  # type: ignore[arg-type]


def test_tax_in_and_out() -> None:
    assert yen(720).with_tax(Decimal("0.10")) == yen("792.00")
    assert yen(792).without_tax(Decimal("0.10")) == yen(720)


def test_total_of_nothing_is_zero_yen() -> None:
    assert (total([]), total([yen(1), yen("2.5")])) == (yen(0), yen("3.5"))


@pytest.mark.parametrize("wrong", [1.5, True, "1", None])
def test_only_exact_numbers_become_money(wrong: object) -> None:
    with pytest.raises(TypeError):
        Money(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-Infinity"])
def test_money_is_finite(wrong: str) -> None:
    with pytest.raises(ValueError):
        yen(wrong)


@pytest.mark.parametrize("factor", [1.5, True, "2", yen(2)])
def test_money_is_scaled_by_exact_numbers_only(factor: object) -> None:
    with pytest.raises(TypeError):
        yen(1) * factor  # type: ignore[operator]


def test_currencies_do_not_mix() -> None:
    dollars = Money(Decimal(1), "USD")
    for act in (lambda: yen(1) + dollars, lambda: yen(1) - dollars, lambda: yen(1) < dollars):
        with pytest.raises(CurrencyMismatch):
            act()
    assert yen(1) != dollars
    with pytest.raises(TypeError):
        yen(1) + 1  # type: ignore[operator]
