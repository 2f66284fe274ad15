import csv
import io
from datetime import date
from decimal import Decimal
from typing import Any

import arro3.io
import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from portal.accounts.models import Organization, Project, User
from portal.billing import invoicing, settlement, summaries
from portal.billing.focus import DATASETS
from portal.billing.models import BillingProfile, Charge, Invoice, InvoiceLine
from portal.catalog.models import Provider
from portal.core.csv import csv_lines
from portal.core.periods import BillingMonth
from tests.billing.focus_validator import (
    BILLING_PERIOD,
    CONTRACT_COMMITMENT,
    COST_AND_USAGE,
    INVOICE_DETAIL,
    Rule,
    violations,
)
from tests.factories import PriceFactory, ProjectFactory
from tests.factories.billing import give_credit, jst, metered, set_issuer
from tests.factories.settlements import charged, closed, members, rule, sold, stored

NOVEMBER = BillingMonth(2026, 11)


@pytest.fixture
def november(project: Project, owner: User) -> dict[str, Charge]:
    """One charge of each kind, by what it is, with another organization's beside them."""
    kddi, sakura, highreso = members()
    give_credit(project, 100_000)
    per_minute = PriceFactory(
        offering__kind="vm", unit="minute", amount=Decimal("33.333333"), per_gpu=True, tax_included=False
    )
    [of_minutes] = metered(
        project, owner, per_minute, job_code="J-MIN", started_at=jst(2026, 11, 1), seconds=100, gpus=4, held=1000
    )
    [before, after] = metered(
        project, owner, PriceFactory(), job_code="J-BORDER", started_at=jst(2026, 11, 30, 23), seconds=7200, held=9000
    )
    assert (before.day, after.day) == (date(2026, 11, 30), date(2026, 12, 1))
    other = ProjectFactory(name="another's")
    charged(other, owner, sold(kddi, sakura), 77_777, day=date(2026, 11, 1), at_s=9)
    return {
        "minutes": of_minutes,
        "border": before,
        "white label": charged(project, owner, sold(kddi, highreso, white_label=True), 5000, day=date(2026, 11, 2)),
        "correction": charged(
            project, owner, sold(kddi, sakura), -300, day=date(2026, 11, 3), used=date(2026, 10, 31), seconds=60
        ),
        "storage": stored(project, sakura, sakura, 12, day=date(2026, 11, 30)),
    }


def exported(client: Client, dataset: str, **query: str) -> tuple[list[str], list[dict[str, str]]]:
    response = client.get(reverse("usage:focus"), {"dataset": dataset, "month": "2026-11", **query})
    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response["Content-Disposition"] == f'attachment; filename="focus-{dataset}-2026-11.csv"'
    reader = csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig")))
    return list(reader.fieldnames or ()), list(reader)


def parquet(client: Client, dataset: str) -> dict[str, list[Any]]:
    response = client.get(reverse("usage:focus"), {"dataset": dataset, "month": "2026-11", "format": "parquet"})
    assert response["Content-Disposition"] == f'attachment; filename="focus-{dataset}-2026-11.parquet"'
    table = arro3.io.read_parquet(io.BytesIO(response.getvalue())).read_all()
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.parametrize(
    ("dataset", "rules", "mandatory", "known"),
    [
        ("cost-and-usage", COST_AND_USAGE, 21, 65),
        ("invoice-detail", INVOICE_DETAIL, 19, 22),
        ("billing-period", BILLING_PERIOD, 6, 6),
        ("contract-commitment", CONTRACT_COMMITMENT, 27, 30),
    ],
)
def test_a_month_is_what_the_specification_asks_for(
    owner: User,
    november: dict[str, Charge],
    invoice: Invoice,
    client_of: Any,
    dataset: str,
    rules: dict[str, Rule],
    mandatory: int,
    known: int,
) -> None:
    assert (sum(one.mandatory for one in rules.values()), len(rules)) == (mandatory, known)
    header, rows = exported(client_of(owner), dataset)
    assert violations(rules, header, rows) == []
    if dataset == "cost-and-usage":
        assert len(rows) == 5
        assert set(header) == {*rules, "x_CourseId", "x_JobId", "x_SettlementId"}


def test_what_is_billed_adds_up_to_the_pages_figures(
    organization: Organization, owner: User, november: dict[str, Charge], client_of: Any
) -> None:
    charges = november.values()
    _header, rows = exported(client_of(owner), "cost-and-usage")
    assert sum(int(row["BilledCost"]) for row in rows) == sum(charge.amount for charge in charges)
    metered_here = [november["minutes"], november["border"]]  # the factory of the others writes no sums
    of_page = sum(row[-1] for row in summaries.daily_rows(organization, NOVEMBER))
    assert of_page == sum(charge.amount for charge in metered_here) > 0
    assert of_page == sum(int(row["BilledCost"]) for row in rows if row["x_JobId"] in ("J-MIN", "J-BORDER"))


def test_a_charge_of_use_tells_what_was_believed(owner: User, november: dict[str, Charge], client_of: Any) -> None:
    _header, rows = exported(client_of(owner), "cost-and-usage")
    [row] = [row for row in rows if row["x_JobId"] == "J-MIN"]
    charge = november["minutes"]
    offering, project = charge.offering, charge.project
    assert offering is not None
    assert {name: value for name, value in row.items() if value} == {
        "BilledCost": "244",
        "BillingAccountId": project.organization.code,
        "BillingAccountName": project.organization.name,
        "BillingAccountType": "Organization",
        "BillingCurrency": "JPY",
        "BillingPeriodEnd": "2026-11-30T15:00:00Z",
        "BillingPeriodStart": "2026-10-31T15:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{offering.name_en}, 4 GPU",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": "2026-10-31T15:01:40Z",
        "ChargePeriodStart": "2026-10-31T15:00:00Z",
        "ConsumedQuantity": "400",
        "ConsumedUnit": "GPU-Seconds",
        "ContractedCost": "244.4444420122222221",
        "ContractedUnitPrice": "36.6666663",
        "EffectiveCost": "244",
        "HostProviderName": "SAKURA internet",
        "InvoiceIssuerName": "SAKURA internet",
        "ListCost": "244.4444420122222221",
        "ListUnitPrice": "36.6666663",
        "PricingCategory": "Standard",
        "PricingCurrency": "JPY",
        "PricingCurrencyContractedUnitPrice": "36.6666663",
        "PricingCurrencyEffectiveCost": "244",
        "PricingCurrencyListUnitPrice": "36.6666663",
        "PricingQuantity": "6.666666667",
        "PricingUnit": "GPU-Minutes",
        "RegionId": "ishikari",
        "RegionName": "Ishikari data center",
        "ResourceId": "J-MIN",
        "ResourceName": "J-MIN",
        "ResourceType": "Job",
        "ServiceCategory": "Compute",
        "ServiceName": offering.name_en,
        "ServiceProviderName": "SAKURA internet",
        "ServiceSubcategory": "Virtual Machines",
        "SkuId": offering.slug,
        "SkuMeter": "GPU time",
        "SkuPriceDetails": '{"x_GpuModel":"H100","x_MinimumSeconds":60}',
        "SkuPriceId": f"{offering.slug}/{charge.price_id}",
        "SubAccountId": project.code,
        "SubAccountName": "llm-jp-tuning",
        "SubAccountType": "Project",
        "x_JobId": "J-MIN",
    }


def test_the_three_members_a_correction_storage_and_the_settlement_are_told(
    project: Project, owner: User, november: dict[str, Charge], client_of: Any
) -> None:
    kddi, highreso = Provider.objects.get(slug="kddi"), Provider.objects.get(slug="highreso")
    rule(kddi, highreso, form="white_label", percent="80")
    rule(kddi, None, percent="90")
    closed(project, NOVEMBER, kddi)
    closed(Project.objects.get(name="another's"), NOVEMBER, kddi)
    codes = {row.host_member.slug: row.code for row in settlement.close(NOVEMBER, by="test")}
    _header, rows = exported(client_of(owner), "cost-and-usage")
    told = [
        (
            row["InvoiceIssuerName"],
            row["ServiceProviderName"],
            row["HostProviderName"],
            row["ChargeClass"],
            row["BilledCost"],
            row["x_SettlementId"],
        )
        for row in rows
        if row["x_JobId"] not in ("J-MIN", "J-BORDER")
    ]
    assert told == [
        ("KDDI", "KDDI", "HIGHRESO", "", "5000", codes["highreso"]),
        ("KDDI", "SAKURA internet", "SAKURA internet", "Correction", "-300", codes["sakura"]),
        ("SAKURA internet", "SAKURA internet", "SAKURA internet", "", "12", ""),
    ]
    kept = rows[-1]
    assert (kept["ServiceSubcategory"], kept["ConsumedQuantity"], kept["PricingQuantity"], kept["ListCost"]) == (
        "Object Storage", "24", "0.033333333", "0.099999999",
    )  # fmt: skip


def test_parquet_holds_what_csv_holds(owner: User, november: dict[str, Charge], client_of: Any) -> None:
    client = client_of(owner)
    for dataset in DATASETS:
        header, rows = exported(client, dataset)
        table = parquet(client, dataset)
        assert list(table) == header
        as_text = {name: ["" if value is None else _text(value) for value in values] for name, values in table.items()}
        assert as_text == {name: [row[name] for row in rows] for name in header}


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value) if isinstance(value, str) else f"{value:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def invoice(organization: Organization, november: dict[str, Charge]) -> Invoice:
    """Of what SAKURA contracts in November."""
    set_issuer("sakura")
    BillingProfile.objects.create(organization=organization, name="経理部", address="東京都", purchase_order="PO-7")
    with time_machine.travel(jst(2026, 12, 3), tick=False):
        issued = invoicing.close(organization, member=Provider.objects.get(slug="sakura"), month=NOVEMBER, by="test")
    assert issued is not None
    return issued


def test_the_lines_of_an_invoice_are_all_there_and_charges_name_it(
    owner: User, invoice: Invoice, client_of: Any
) -> None:
    client = client_of(owner)
    _header, rows = exported(client, "invoice-detail")
    assert sum(int(row["BilledCost"]) for row in rows) == invoice.total > 0
    lines = InvoiceLine.objects.filter(invoice=invoice).order_by("position")
    assert [(row["InvoiceDetailId"], int(row["BilledCost"])) for row in rows] == [
        (f"{invoice.number}/{line.position}", line.amount) for line in lines
    ]
    assert {(row["ReferenceInvoiceId"], row["PurchaseOrderNumber"], row["InvoiceIssueDate"]) for row in rows} == {
        (invoice.number, "PO-7", "2026-12-02T15:00:00Z")
    }
    _header, charges = exported(client, "cost-and-usage")
    assert {(row["InvoiceIssuerName"], row["InvoiceId"]) for row in charges} == {
        ("SAKURA internet", invoice.number),
        ("KDDI", ""),
    }


def test_a_billing_period_is_closed_when_its_invoices_are_issued(
    project: Project, owner: User, november: dict[str, Charge], client_of: Any
) -> None:
    closed(project, NOVEMBER, Provider.objects.get(slug="kddi"))
    _header, rows = exported(client_of(owner), "billing-period")
    assert [(row["InvoiceIssuerName"], row["BillingPeriodStatus"]) for row in rows] == [
        ("KDDI", "Closed"),
        ("SAKURA internet", "Open"),
    ]
    assert rows[0]["BillingPeriodLastUpdated"] == "2026-11-30T15:00:00Z"


def test_an_unknown_dataset_is_not_there_and_another_month_is_empty(
    owner: User, november: dict[str, Charge], client_of: Any
) -> None:
    client = client_of(owner)
    assert client.get(reverse("usage:focus"), {"dataset": "everything"}).status_code == 404
    response = client.get(reverse("usage:focus"), {"month": "2026-09"})
    assert list(csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig")))) == []


def test_it_is_read_while_it_is_sent(owner: User, project: Project, november: dict[str, Charge]) -> None:
    dataset = DATASETS["cost-and-usage"]
    rows = dataset.rows(project.organization, NOVEMBER)
    lines = csv_lines([column.name for column in dataset.columns], rows)
    assert next(lines).startswith("\ufeffAllocatedMethodDetails,")
    assert rows.gi_frame.f_lasti < 10  # not begun: the header does not wait for the database


@pytest.mark.parametrize(
    ("column", "value", "breach"),
    [
        ("BilledCost", "", "null"),
        ("BilledCost", "1e3", "no number"),
        ("BilledCost", "+5", "no number"),
        ("BillingCurrency", "USD", "not allowed"),
        ("ChargeCategory", "Use", "not allowed"),
        ("ChargeClass", "Refund", "not allowed"),
        ("ChargePeriodEnd", "2026-10-31T15:00:00Z", "not after its start"),
        ("ChargePeriodStart", "2026-10-31T14:59:59Z", "outside of the billing period"),
        ("ChargePeriodStart", "2026-11-01T00:00:00+09:00", "no instant in UTC"),
        ("BillingPeriodEnd", "2026-10-31T15:00:00Z", "not after its start"),
        ("ConsumedUnit", "", "null without ConsumedQuantity"),
        ("ConsumedUnit", "gpu seconds", "no unit"),
        ("EffectiveCost", "243", "not the billed one"),
        ("ListCost", "244", "not price times quantity"),
        ("ListUnitPrice", "-1", "negative"),
        ("PricingQuantity", "", "null on use"),
        ("RegionName", "", "null without RegionId"),
        ("ServiceName", " GPU", "white space"),
        ("ServiceSubcategory", "Object Storage", "of another category"),
        ("SkuId", "", "SkuMeter: without SkuId"),
        ("SkuPriceDetails", "[1]", "no JSON object"),
        ("SkuPriceDetails", '{"Colour":1}', "keys without x_"),
        ("HostProviderName", "", "null"),
    ],
)
def test_the_validator_sees_each_breach(
    owner: User, november: dict[str, Charge], client_of: Any, column: str, value: str, breach: str
) -> None:
    header, rows = exported(client_of(owner), "cost-and-usage")
    [row] = [row for row in rows if row["x_JobId"] == "J-MIN"]
    found = violations(COST_AND_USAGE, header, [row | {column: value}])
    assert [one for one in found if breach in one] != []


def test_the_validator_sees_a_missing_a_doubled_and_a_made_up_column() -> None:
    header = [name for name in COST_AND_USAGE if name != "BilledCost"]
    assert violations(COST_AND_USAGE, [*header, "Colour", "Tags"], []) == [
        "BilledCost: missing",
        "Colour: no column of FOCUS",
        "Tags: twice",
    ]
