from decimal import Decimal

from portal.catalog.models import Offering, Price
from portal.jobs.estimates import Quote, affordable_s, quote

DOK = Price(
    unit="second", amount=Decimal("0.28"), per_gpu=False, minimum_s=60, tax_included=True, tax_percent=Decimal(10)
)
SLURM = Price(
    unit="hour", amount=Decimal("400"), per_gpu=True, minimum_s=0, tax_included=False, tax_percent=Decimal(10)
)


def test_a_quote_rounds_limits_up() -> None:
    assert quote(Offering(), DOK, gpus=1, time_limit_s=3601, cost_cap=500) == Quote(
        per_hour=Decimal("1008.00"),
        per_gpu_hour=Decimal("1008.00"),
        per_unit=Decimal("0.28"),
        minimum=17,
        maximum=1009,
        most=1009,
        hold=500,
        pays_for_s=1785,
        minimum_s=60,
    )


def test_without_a_cap_the_maximum_is_held() -> None:
    whole = quote(Offering(), SLURM, gpus=2, time_limit_s=1800)
    assert (whole.maximum, whole.hold, whole.per_hour, whole.is_capped) == (440, 440, Decimal("880.0"), False)


def test_a_job_that_may_begin_anew_holds_for_every_run() -> None:
    thrice = quote(Offering(), SLURM, gpus=2, time_limit_s=1800, tries=3)
    capped = quote(Offering(), SLURM, gpus=2, time_limit_s=1800, cost_cap=500, tries=3)
    assert [(q.maximum, q.most, q.hold, q.is_capped) for q in (thrice, capped)] == [
        (440, 1320, 1320, False), (440, 1320, 500, False),
    ]  # fmt: skip


def test_affordable_seconds_never_cost_more() -> None:
    assert [affordable_s(DOK, gpus=1, yen=yen) for yen in (16, 17, 28, 500)] == [0, 60, 100, 1785]
    assert affordable_s(SLURM, gpus=2, yen=880) == 3600
