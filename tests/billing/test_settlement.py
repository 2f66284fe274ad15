import csv
import io
import json
from collections import defaultdict
from datetime import date
from fractions import Fraction
from math import trunc
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing import settlement
from portal.billing.models import Charge, RevenueRule, Settlement, SettlementDispute, SettlementLine
from portal.billing.settlement import Line, Pair, Position, Transfer, WithoutRule, close, settle
from portal.catalog.models import Price, Provider, SaleForm
from portal.core.models import AppendOnlyError
from portal.core.periods import BillingMonth
from tests.factories.settlements import charged, closed, members, rule, sold, stored

NOVEMBER = BillingMonth(2026, 11)


@pytest.fixture
def kddi(db: None) -> Provider:
    return members()[0]


@pytest.fixture
def sakura(kddi: Provider) -> Provider:
    return Provider.objects.get(slug="sakura")


@pytest.fixture
def highreso(kddi: Provider) -> Provider:
    return Provider.objects.get(slug="highreso")


def run(command: str, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command(command, *arguments, stdout=out)
    except SystemExit as left:
        return int(str(left.code)), out.getvalue()
    return 0, out.getvalue()


def sums(pair: Pair | Line | Settlement | SettlementLine) -> tuple[int, int, int]:
    return pair.gross, pair.fee, pair.net


def test_the_host_gets_the_share_rounded_down_once_and_the_fee_is_the_rest(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    price, percent = sold(kddi, sakura), rule(kddi, sakura, percent="85.5")
    charged(project, owner, price, 333, day=date(2026, 11, 1))
    charged(project, owner, price, 333, day=date(2026, 11, 30))
    charged(project, owner, price, 50_000, day=date(2026, 12, 1))  # another month
    charged(project, owner, sold(sakura, sakura), 1000, day=date(2026, 11, 2))  # its own machine

    settled = settle(NOVEMBER)

    [pair] = settled.pairs
    [line] = pair.lines
    assert pair.members == (kddi.pk, sakura.pk)
    assert (line.offering_id, line.rule, line.gpu_seconds) == (price.offering_id, percent, 7200)
    assert sums(pair) == (666, 97, 569)  # 569.43
    assert settled.charged == 1666
    assert settled.positions == tuple(
        sorted(
            [Position(kddi.pk, 666, 569, 0), Position(sakura.pk, 1000, 0, 569)], key=lambda position: position.member_id
        )
    )
    assert settled.transfers == [Transfer(kddi.pk, sakura.pk, 569)]


def test_a_price_per_gpu_hour_counts_use_and_may_be_more_than_was_charged(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    rule(kddi, sakura, yen="900.5")
    charged(project, owner, sold(kddi, sakura), 1000, day=date(2026, 11, 1), seconds=5400)
    assert [sums(pair) for pair in settle(NOVEMBER).pairs] == [(1000, -350, 1350)]  # 1350.75


def test_white_label_has_a_rule_of_its_own(project: Project, owner: User, kddi: Provider, sakura: Provider) -> None:
    named, white = sold(kddi, sakura), sold(kddi, sakura, white_label=True)
    assert (named.offering.sale_form, white.offering.sale_form) == (SaleForm.NAMED, SaleForm.WHITE_LABEL)
    rule(kddi, sakura, percent="90")
    rule(kddi, sakura, form="white_label", percent="60")
    charged(project, owner, named, 100, day=date(2026, 11, 1))
    charged(project, owner, white, 100, day=date(2026, 11, 1))
    [pair] = settle(NOVEMBER).pairs
    assert sorted((line.offering_id, line.net) for line in pair.lines) == sorted(
        [(named.offering_id, 90), (white.offering_id, 60)]
    )


def test_a_rule_holds_from_its_day_and_the_host_s_own_goes_before_one_for_any(
    project: Project, owner: User, kddi: Provider, sakura: Provider, highreso: Provider
) -> None:
    old, new = rule(kddi, sakura, percent="90"), rule(kddi, sakura, percent="80", valid_from=date(2026, 11, 16))
    anybody = rule(kddi, None, percent="50", valid_from=date(2026, 11, 20))
    mine, theirs = sold(kddi, sakura), sold(kddi, highreso)
    for day in (15, 16, 30):
        charged(project, owner, mine, 100, day=date(2026, 11, day))
    charged(project, owner, theirs, 100, day=date(2026, 11, 20))
    to_sakura, to_highreso = sorted(settle(NOVEMBER).pairs, key=lambda pair: pair.host_id != sakura.pk)
    assert [(line.rule, line.gross, line.net) for line in to_sakura.lines] == [(old, 100, 90), (new, 200, 160)]
    assert [(line.rule, line.gross, line.net) for line in to_highreso.lines] == [(anybody, 100, 50)]


def test_of_two_rules_of_one_day_the_later_entered_holds(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    rule(kddi, sakura, percent="9")
    rule(kddi, sakura, percent="90")
    charged(project, owner, sold(kddi, sakura), 100, day=date(2026, 11, 1))
    assert [pair.net for pair in settle(NOVEMBER).pairs] == [90]


def test_a_correction_is_settled_in_the_month_it_is_booked_in_by_the_rule_of_the_use(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    old = rule(kddi, sakura, percent="90")
    rule(kddi, sakura, percent="80", valid_from=date(2026, 11, 1))
    charged(project, owner, sold(kddi, sakura), -333, day=date(2026, 11, 5), used=date(2026, 10, 31))
    [pair] = settle(NOVEMBER).pairs
    assert [(line.rule, sums(line)) for line in pair.lines] == [(old, (-333, -34, -299))]  # 299.7, toward zero


def test_who_bears_given_credit_is_in_the_rule(
    project: Project, owner: User, kddi: Provider, sakura: Provider, highreso: Provider
) -> None:
    rule(kddi, sakura, percent="90")
    rule(kddi, highreso, percent="90", host_bears=True)
    rule(sakura, highreso, yen="600", host_bears=True)
    for contracting, host in ((kddi, sakura), (kddi, highreso), (sakura, highreso)):
        charged(project, owner, sold(contracting, host), 1000, day=date(2026, 11, 1), given=400)
    assert {pair.members: sums(pair) for pair in settle(NOVEMBER).pairs} == {
        (kddi.pk, sakura.pk): (1000, 100, 900),
        (kddi.pk, highreso.pk): (1000, 460, 540),
        (sakura.pk, highreso.pk): (1000, 640, 360),
    }


def test_storage_is_settled_too_and_has_no_gpu_hours(
    project: Project, kddi: Provider, sakura: Provider, highreso: Provider
) -> None:
    rule(kddi, sakura, percent="90")
    rule(kddi, highreso, yen="600")
    for host in (sakura, highreso):
        stored(project, kddi, host, 100, day=date(2026, 11, 1))
    assert [[(line.offering_id, sums(line)) for line in pair.lines] for pair in settle(NOVEMBER).pairs] == [
        [(None, (100, 10, 90))],
        [(None, (100, 0, 100))],
    ]


def test_without_a_rule_nothing_is_settled_between_the_two_but_the_rest_is(
    project: Project, owner: User, kddi: Provider, sakura: Provider, highreso: Provider
) -> None:
    rule(kddi, sakura, percent="90", valid_from=date(2026, 11, 10))
    rule(kddi, highreso, percent="90")
    price = sold(kddi, sakura)
    charged(project, owner, price, 100, day=date(2026, 11, 9))
    charged(project, owner, price, 200, day=date(2026, 11, 10))
    charged(project, owner, sold(kddi, highreso), 300, day=date(2026, 11, 9))
    closed(project, NOVEMBER, kddi)
    assert [row.members for row in close(NOVEMBER, by="test")] == [(kddi.pk, highreso.pk)]
    assert settle(NOVEMBER).without_rule == (WithoutRule(kddi.pk, sakura.pk, SaleForm.NAMED, date(2026, 11, 9), 100),)
    rule(kddi, sakura, percent="95")
    assert [row.members for row in close(NOVEMBER, by="test")] == [(kddi.pk, highreso.pk), (kddi.pk, sakura.pk)]


def test_what_two_owe_each_other_is_set_off(project: Project, owner: User, kddi: Provider, sakura: Provider) -> None:
    rule(kddi, sakura, percent="90")
    rule(sakura, kddi, percent="80")
    charged(project, owner, sold(kddi, sakura), 1000, day=date(2026, 11, 1))
    charged(project, owner, sold(sakura, kddi), 2000, day=date(2026, 11, 1))
    assert settle(NOVEMBER).transfers == [Transfer(sakura.pk, kddi.pk, 700)]


def test_who_owe_each_other_the_same_pay_nothing(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    rule(kddi, None, percent="50")
    rule(sakura, None, percent="50")
    charged(project, owner, sold(kddi, sakura), 1000, day=date(2026, 11, 1))
    charged(project, owner, sold(sakura, kddi), 1000, day=date(2026, 11, 1))
    assert settle(NOVEMBER).transfers == []


def test_a_month_is_closed_once_and_stays_as_it_was(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    rule(kddi, sakura, percent="90")
    price = sold(kddi, sakura)
    charged(project, owner, price, 101, day=date(2026, 11, 30))
    closed(project, NOVEMBER, sakura)
    assert (close(NOVEMBER, by="test"), settlement.not_closed(NOVEMBER)) == ([], {kddi.pk})
    closed(project, NOVEMBER, kddi)
    [row] = close(NOVEMBER, by="test")
    assert sums(row) == (101, 11, 90)
    assert [sums(line) for line in row.lines.all()] == [(101, 11, 90)]
    rule(kddi, sakura, percent="10")
    charged(project, owner, price, 50, day=date(2026, 11, 30), at_s=7200)
    [again] = close(NOVEMBER, by="test")
    assert (again.pk, *sums(again)) == (row.pk, 101, 11, 90)
    assert settlement.changed_since(settle(NOVEMBER), [again]) == [again]
    assert AuditEvent.objects.filter(act="settlement.closed").count() == 1


@pytest.mark.parametrize("model", [RevenueRule, Settlement, SettlementLine, SettlementDispute])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_nothing_written_is_changed_or_removed(
    project: Project, owner: User, kddi: Provider, sakura: Provider, model: Any, change: str
) -> None:
    rule(kddi, sakura, percent="90")
    charged(project, owner, sold(kddi, sakura), 101, day=date(2026, 11, 30))
    closed(project, NOVEMBER, kddi)
    [row] = close(NOVEMBER, by="test")
    settlement.dispute(row, note="Too little", by="test")
    with pytest.raises(AppendOnlyError):
        model.objects.get().save()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing may wait for the commit while a table is emptied
        cursor.execute(change.format(model._meta.db_table))


@pytest.mark.django_db(transaction=True)
def test_the_database_refuses_a_line_that_does_not_add_up(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    percent, price = rule(kddi, sakura, percent="90"), sold(kddi, sakura)
    charged(project, owner, price, 101, day=date(2026, 11, 30))
    closed(project, NOVEMBER, kddi)
    [row] = close(NOVEMBER, by="test")
    with pytest.raises(IntegrityError, match="do not add up"), transaction.atomic():
        SettlementLine.objects.create(
            settlement=row,
            offering=sold(kddi, sakura).offering,
            rule=percent,
            gpu_seconds=0,
            given=0,
            gross=1,
            fee=0,
            net=1,
        )


# --- any charges and any rules ---------------------------------------------------------------------------------------
A_CHARGE = st.tuples(
    st.integers(0, 17),  # which offering: 3 contracting x 3 hosts x 2 forms
    st.integers(-10_000, 10_000_000),  # corrections give back
    st.integers(1, 30),  # day
    st.integers(1, 86_400),  # seconds
    st.integers(0, 100),  # percent of it paid with a grant
)
A_RULE = st.tuples(
    st.integers(0, 2),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from(["named", "white_label"]),
    st.one_of(
        st.decimals(0, 100, places=2).map(lambda percent: {"percent": str(percent)}),
        st.decimals(0, 5000, places=6).map(lambda yen: {"yen": str(yen)}),
    ),
    st.dates(date(2026, 10, 1), date(2026, 12, 5)),
    st.booleans(),
)


@pytest.fixture
def prices(kddi: Provider) -> list[Price]:
    three = members()
    return [sold(a, b, white_label=white) for a in three for b in three for white in (False, True)]


@given(charges=st.lists(A_CHARGE, max_size=12), rules=st.lists(A_RULE, max_size=8), everybody=st.booleans())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_month_sums_to_zero_and_equals_the_oracle(
    project: Project, owner: User, prices: list[Price], charges: list[Any], rules: list[Any], everybody: bool
) -> None:
    with transaction.atomic():
        three = members()
        for at, (which, amount, day, seconds, granted) in enumerate(charges):
            given = amount * granted // 100
            charged(
                project, owner, prices[which], amount, day=date(2026, 11, day), seconds=seconds, at_s=at, given=given
            )
        if everybody:
            for one in three:
                for form in SaleForm.values:
                    rule(one, None, form=form, percent="70")
        for contracting, host, form, share, valid_from, bears in rules:
            if host != contracting:
                host_member = None if host is None else three[host]
                rule(three[contracting], host_member, form=form, valid_from=valid_from, host_bears=bears, **share)

        settled = settle(NOVEMBER)

        assert {pair.members: sums(pair) for pair in settled.pairs} == _oracle()
        assert settled.charged == sum(charge[1] for charge in charges)
        assert sum(one.balance for one in settled.positions) == settled.charged
        moved: dict[int, int] = defaultdict(int)
        for one in settled.transfers:
            moved[one.payer_id] -= one.amount
            moved[one.payee_id] += one.amount
        assert sum(moved.values()) == 0
        assert {m: amount for m, amount in moved.items() if amount} == {
            one.member_id: one.received - one.paid for one in settled.positions if one.received != one.paid
        }
        if everybody:
            assert settled.without_rule == ()
        closed(project, NOVEMBER, *three)
        written = close(NOVEMBER, by="test")
        left = {(one.contracting_id, one.host_id) for one in settled.without_rule}
        assert {row.members: sums(row) for row in written} == {
            pair.members: sums(pair) for pair in settled.pairs if pair.members not in left
        }
        transaction.set_rollback(True)


def _oracle() -> dict[tuple[int, int], tuple[int, int, int]]:
    """Charge by charge, in fractions, with nothing of the portal's but its rows."""
    exact: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
    whole: dict[tuple[int, ...], int] = defaultdict(int)
    paid: dict[tuple[int, ...], int] = defaultdict(int)
    hours: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
    for charge in Charge.objects.filter(day__gte="2026-11-01", day__lte="2026-11-30").select_related("record"):
        a, s, h = charge.contracting_member_id, charge.service_member_id, charge.host_member_id
        if a == h:
            continue
        form = "white_label" if a == s else "named"
        best = None
        for one in RevenueRule.objects.filter(contracting_member=a, sale_form=form, valid_from__lte=charge.day):
            if one.host_member_id in (h, None):
                rank = (one.host_member_id == h, one.valid_from, one.pk)
                best = max(best, (rank, one)) if best else (rank, one)
        if best is None:
            continue
        key = (a, h, charge.offering_id, best[1].pk)
        whole[key] += charge.amount
        paid[key] += charge.amount - sum(use.amount for use in charge.uses.filter(credit__kind="grant"))
        hours[key] += Fraction(charge.record.gpu_seconds, 3600)
        exact[key] = (
            whole[key] * Fraction(best[1].percent) / 100
            if best[1].percent is not None
            else hours[key] * Fraction(best[1].yen_per_gpu_hour)
        )
        if best[1].host_bears_given_credit and whole[key]:
            exact[key] = exact[key] * paid[key] / whole[key]
    found: dict[tuple[int, int], tuple[int, int, int]] = {}
    for key, share in exact.items():
        gross, fee, net = found.get((key[0], key[1]), (0, 0, 0))
        host = trunc(share)
        found[key[0], key[1]] = (gross + whole[key], fee + whole[key] - host, net + host)
    return found


# --- the operator's commands -----------------------------------------------------------------------------------------
def test_the_operator_enters_a_rule_and_settles_a_month(project: Project, owner: User, kddi: Provider) -> None:
    sakura = Provider.objects.get(slug="sakura")
    price = sold(kddi, sakura)
    charged(project, owner, price, 1000, day=date(2026, 11, 1))
    code, text = run("settle_month", "2026-11")
    assert code == 1
    assert json.loads(text)["without_rule"] == [
        {"contracting": "kddi", "host": "sakura", "form": "named", "from": "2026-11-01", "gross": 1000}
    ]
    said = run(
        "set_revenue_rule", "kddi", "sakura", "named", "--percent", "87.5", "--from", "2026-11-01",
        "--source", "Contract 3 of 2026-10-01", "--confirmed",
    )  # fmt: skip
    stored = RevenueRule.objects.get()
    assert said == (0, f"Rule {stored.pk} holds from 2026-11-01.\n")
    assert (str(stored.percent), stored.yen_per_gpu_hour, stored.source, stored.confirmed) == (
        "87.50", None, "Contract 3 of 2026-10-01", True,
    )  # fmt: skip
    code, text = run("settle_month", "2026-11")
    assert (code, [pair["settlement"] for pair in json.loads(text)["pairs"]]) == (0, [None])
    closed(project, NOVEMBER, kddi)
    first, again = run("settle_month", "2026-11"), run("settle_month", "2026-11")
    row = Settlement.objects.get()
    assert first == again == (0, first[1])
    assert json.loads(first[1]) == {
        "month": "2026-11",
        "charged": 1000,
        "pairs": [
            {"settlement": row.code, "contracting": "kddi", "host": "sakura", "gross": 1000, "fee": 125, "net": 875}
        ],
        "transfers": [{"from": "kddi", "to": "sakura", "amount": 875}],
        "members": [
            {"member": "kddi", "collected": 1000, "paid": 875, "received": 0, "balance": 125},
            {"member": "sakura", "collected": 0, "paid": 0, "received": 875, "balance": 875},
        ],
        "without_rule": [],
        "not_closed": [],
        "changed_since": [],
    }
    charged(project, owner, price, 5, day=date(2026, 11, 1), at_s=7200)
    code, text = run("settle_month", "2026-11")
    assert (code, json.loads(text)["changed_since"]) == (1, [row.code])


def test_the_statement_has_each_rule_the_sum_and_what_was_said_against_it(
    project: Project, owner: User, kddi: Provider, sakura: Provider
) -> None:
    rule(kddi, sakura, yen="700")
    price = sold(kddi, sakura)
    charged(project, owner, price, 1000, day=date(2026, 11, 1), given=250)
    closed(project, NOVEMBER, kddi)
    [row] = close(NOVEMBER, by="test")
    code, text = run("settlement_statement", row.code, "--dispute", "=Sakura: 2 hours are missing")
    head, *lines = csv.reader(io.StringIO(text.lstrip("\ufeff")))
    who = [row.code, "2026-11", "kddi", "sakura"]
    assert (code, tuple(head)) == (0, settlement.STATEMENT_HEADER)
    assert lines == [
        [
            *who, price.offering.slug, "named", "", "700.000000", "2026-01-01", "test contract", "no", "3600", "250",
            "1000", "300", "700",
        ],
        [*who, "total", "", "", "", "", "", "", "3600", "250", "1000", "300", "700"],
        [*who, "dispute", "", "", "", "", "'=Sakura: 2 hours are missing", "", "", "", "", "", ""],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["kddi", "sakura", "named", "--percent", "100.01"], "from 0 to 100 "),
        (["kddi", "sakura", "named", "--percent", "-1"], "from 0 to 100 "),
        (["kddi", "sakura", "named", "--percent", "NaN"], "from 0 to 100 "),
        (["kddi", "sakura", "named", "--percent", "1.005"], "up to 2 places"),
        (["kddi", "sakura", "named", "--yen-per-gpu-hour", "1e30"], "from 0 to 10000000 "),
        (["kddi", "sakura", "named"], "required"),
        (["kddi", "sakura", "named", "--percent", "1", "--yen-per-gpu-hour", "1"], "not allowed with"),
        (["kddi", "nobody", "named", "--percent", "1"], "no member nobody. Members: kddi, sakura, highreso"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(kddi: Provider, arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        run("set_revenue_rule", *arguments, "--from", "2026-11-01", "--source", "test")
    assert not RevenueRule.objects.exists()
