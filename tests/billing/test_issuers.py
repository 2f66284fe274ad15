from datetime import date

import pytest
import time_machine
from django.core.management import CommandError, call_command

from portal.audit.models import AuditEvent
from portal.billing import issuers
from portal.billing.issuers import NoIssuer, NotARegistrationNumber, registration_number
from portal.billing.models import Issuer
from tests.factories import ProviderFactory
from tests.factories.billing import jst, set_issuer

WORDS = ("--name", "架空（デモ）", "--address", "東京都", "--bank", "架空銀行")


@pytest.mark.parametrize("typed", ["T7123456789012", "Ｔ７１２３４５６７８９０１２", " t7123-4567-89012 "])
def test_a_registration_number_is_read_as_people_type_it(typed: str) -> None:
    assert registration_number(typed) == "T7123456789012"


@pytest.mark.parametrize(
    "typed",
    ["", "7123456789012", "T712345678901", "T71234567890123", "T8123456789012", "T7123456789021", "Tabcdefghijk"],
)
def test_another_number_is_refused(typed: str) -> None:
    with pytest.raises(NotARegistrationNumber):
        registration_number(typed)


def test_every_single_wrong_digit_but_nine_for_nothing_is_found() -> None:
    """The rule itself takes 0 and 9 for the same in the last twelve digits."""
    right = "T7123456789012"
    for place in range(1, 14):
        for digit in "0123456789":
            wrong = right[:place] + digit + right[place + 1 :]
            if wrong == right or (place > 1 and {digit, right[place]} == {"0", "9"}):
                continue
            with pytest.raises(NotARegistrationNumber):
                registration_number(wrong)


def test_the_newest_row_that_has_begun_holds(db: None) -> None:
    first, later = set_issuer(valid_from=date(2026, 1, 1)), set_issuer(valid_from=date(2026, 12, 1))
    again = set_issuer(valid_from=date(2026, 12, 1))
    member = first.member
    assert issuers.issuer_of(member, on=date(2026, 11, 30)) == first
    assert issuers.issuer_of(member, on=date(2026, 12, 1)) == again != later
    with pytest.raises(NoIssuer):
        issuers.issuer_of(member, on=date(2025, 12, 31))
    with pytest.raises(NoIssuer):
        issuers.issuer_of(ProviderFactory(slug="kddi"), on=date(2026, 11, 30))


def test_the_command_sets_it_from_today_and_is_in_the_audit_trail(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    ProviderFactory(slug="kddi")
    with time_machine.travel(jst(2026, 12, 1)):
        call_command("set_issuer", "kddi", "--number", "T7123456789012", *WORDS)
    row = Issuer.objects.get()
    assert (row.member.slug, row.name, row.registration_number) == ("kddi", "架空（デモ）", "T7123456789012")
    assert row.valid_from == date(2026, 12, 1)
    assert capsys.readouterr().out == "kddi: 架空（デモ）, T7123456789012, from 2026-12-01.\n"
    assert list(AuditEvent.objects.values_list("act", "subject", "actor")) == [
        ("issuer.set", "provider:kddi", "operator")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody", "--number", "T7123456789012"), "no member nobody"),
        (("sakura", "--number", "T7123456789013"), "no registration number"),
        (("sakura", "--number", "T7123456789012", "--from", "tomorrow"), "written like"),
    ],
)
def test_the_command_says_what_is_wrong_and_stores_nothing(db: None, arguments: tuple[str, ...], words: str) -> None:
    ProviderFactory()
    with pytest.raises(CommandError, match=words):
        call_command("set_issuer", *arguments, *WORDS)
    assert not Issuer.objects.exists()
