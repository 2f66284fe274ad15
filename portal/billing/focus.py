"""An organization's money as FOCUS datasets, a month at a time, for the tools it already has for its clouds.

FOCUS (FinOps Open Cost and Usage Specification) 1.4. Source of columns, types, nullability and allowed values: its text
in FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, specification/datasets, read 2026-11-30; that text is of the time after
1.4, so the columns introduced in 1.5 (CredentialDetails, CredentialId, PrincipalId) were left out, which leaves the 65
columns, 21 of them mandatory, that 1.4 is known to have. What its requirements leave to us, and where we differ:
- One row is one charge. Its costs have the tax in them, as everything the portal shows; there are no rows of tax.
- BilledCost and EffectiveCost are what was charged, in whole yen, also where a credit paid for it: they add up to the
  pages' figures. ListCost and ContractedCost are unit price times quantity, exact: a job's minimum, the rounding down
  of its total and its hold make up the difference.
- A correction has the period of the use it corrects, and the billing period it is booked in.
- No commitments are sold: ContractCommitment has no rows. Columns for them, for split costs and tags are null.
- InvoiceId is there from the day on which the invoice is issued. InvoiceDetailId is null: a line of an invoice is found
  by its grain (service, SKU, sub account, x_Kind, x_OfMonth). Lines of InvoiceDetail are those of the invoice, none is
  left out; what was paid with credit given for nothing is on an invoice as a line of its own (Credit), not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Max
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization
from portal.billing.models import BillingPeriod, Charge, Invoice, InvoiceLine, LineKind, PeriodState
from portal.catalog.models import OfferingKind, PriceUnit
from portal.catalog.pricing import SECONDS
from portal.core.parquet import Column, Kind, json_text
from portal.core.periods import BillingMonth, interval_of_day

CURRENCY = "JPY"
_QUANTITY = Decimal("1e-9")
_PRICE = Decimal("1e-9")  # a price has at most nine decimals with its tax


@dataclass(frozen=True)
class Dataset:
    """`rows(organization, month)` gives a value or None for each column, in their order, while it reads."""

    name: str
    title: str | Promise
    columns: tuple[Column, ...]
    rows: Callable[[Organization, BillingMonth], Iterator[list[Any]]]


def cell(value: Any, kind: Kind) -> Any:
    """A value as FOCUS writes it in text: no exponents, UTC with a Z. None stays."""
    if value is None:
        return None
    if kind is Kind.INSTANT:
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if kind is Kind.JSON:
        return json_text(value)
    return _Plain(value) if kind is Kind.DECIMAL else value


class _Plain(Decimal):
    """The CSV writer takes numbers by what str makes of them."""

    def __str__(self) -> str:
        plain = format(Decimal(self), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _columns(text: str) -> tuple[Column, ...]:
    """Names in their order; "Name:decimal" where it is no text."""
    kinds = {"": Kind.TEXT, "decimal": Kind.DECIMAL, "instant": Kind.INSTANT, "json": Kind.JSON}
    return tuple(Column(name, kinds[kind]) for name, _colon, kind in (word.partition(":") for word in text.split()))


# --- Cost and Usage --------------------------------------------------------------------------------------------------
COST_AND_USAGE = _columns("""
    AllocatedMethodDetails:json AllocatedMethodId AllocatedResourceId AllocatedResourceName AllocatedTags:json
    AvailabilityZone BilledCost:decimal BillingAccountId BillingAccountName BillingAccountType BillingCurrency
    BillingPeriodEnd:instant BillingPeriodStart:instant CapacityReservationId CapacityReservationStatus ChargeCategory
    ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd:instant ChargePeriodStart:instant
    CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountQuantity:decimal
    CommitmentDiscountStatus CommitmentDiscountType CommitmentDiscountUnit CommitmentProgramEligibilityDetails:json
    ConsumedQuantity:decimal ConsumedUnit ContractApplied:json ContractedCost:decimal ContractedUnitPrice:decimal
    EffectiveCost:decimal HostProviderName InvoiceDetailId InvoiceId InvoiceIssuerName ListCost:decimal
    ListUnitPrice:decimal PricingCategory PricingCurrency PricingCurrencyContractedUnitPrice:decimal
    PricingCurrencyEffectiveCost:decimal PricingCurrencyListUnitPrice:decimal PricingQuantity:decimal PricingUnit
    RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName ServiceProviderName
    ServiceSubcategory SkuId SkuMeter SkuPriceDetails:json SkuPriceId SubAccountId SubAccountName SubAccountType
    Tags:json x_CourseId x_JobId x_SettlementId
""")
_SERVICE = {
    OfferingKind.JOB: ("Compute", "Containers"),
    OfferingKind.VM: ("Compute", "Virtual Machines"),
    OfferingKind.BARE_METAL: ("Compute", "Virtual Machines"),  # FOCUS: "... to bare-metal servers"
    OfferingKind.NODE: ("Compute", "Virtual Machines"),
    OfferingKind.CONTRACT: ("Compute", "Other (Compute)"),
}
_UNITS = {
    PriceUnit.SECOND: "Seconds",
    PriceUnit.MINUTE: "Minutes",
    PriceUnit.HOUR: "Hours",
    PriceUnit.DAY: "Days",
    PriceUnit.MONTH: "Months",
}
_CHARGES = """
SELECT charge.kind, charge.job_code, charge.amount, project.code AS project, project.name AS project_name,
    contracting.name_en AS contracting, service.name_en AS service, host.name_en AS host, settlement.code AS settlement,
    invoice.number AS invoice,
    coalesce(record.started_at, storage.started_at) AS started_at,
    coalesce(record.ended_at, storage.ended_at) AS ended_at, record.seconds, record.gpus, record.gpu_seconds,
    offering.slug AS offering, offering.name_en AS offering_name, offering.kind AS offering_kind, offering.gpu_model,
    site.slug AS site, site.name_en AS site_name,
    coalesce(price.id, storage_price.id) AS price_id, coalesce(price.amount, storage_price.amount) AS price,
    coalesce(price.tax_included, storage_price.tax_included) AS tax_included,
    coalesce(price.tax_percent, storage_price.tax_percent) AS tax_percent, price.unit, price.per_gpu, price.minimum_s,
    storage.kind AS storage_kind, storage.site AS store, storage.byte_hours
FROM billing_charge charge
JOIN accounts_project project ON project.id = charge.project_id
JOIN catalog_provider contracting ON contracting.id = charge.contracting_member_id
JOIN catalog_provider service ON service.id = charge.service_member_id
JOIN catalog_provider host ON host.id = charge.host_member_id
LEFT JOIN usage_usagerecord record ON record.id = charge.record_id
LEFT JOIN usage_storageusage storage ON storage.id = charge.storage_id
LEFT JOIN catalog_offering offering ON offering.id = charge.offering_id
LEFT JOIN catalog_site site ON site.id = offering.site_id
LEFT JOIN catalog_price price ON price.id = charge.price_id
LEFT JOIN catalog_storageprice storage_price ON storage_price.id = charge.storage_price_id
LEFT JOIN billing_settlement settlement ON settlement.month = %(first)s
    AND settlement.contracting_member_id = charge.contracting_member_id
    AND settlement.host_member_id = charge.host_member_id
LEFT JOIN billing_invoice invoice ON invoice.month = %(first)s AND invoice.corrects_id IS NULL
    AND invoice.organization_id = charge.organization_id AND invoice.member_id = charge.contracting_member_id
WHERE charge.organization_id = %(organization)s AND charge.day BETWEEN %(first)s AND %(last)s
ORDER BY charge.day, charge.id
"""


def _cost_and_usage(organization: Organization, month: BillingMonth) -> Iterator[list[Any]]:
    names = [column.name for column in COST_AND_USAGE]
    whole = month.interval
    same = {
        "BillingAccountId": organization.code,
        "BillingAccountName": organization.name,
        "BillingAccountType": "Organization",
        "BillingCurrency": CURRENCY,
        "BillingPeriodStart": whole.start,
        "BillingPeriodEnd": whole.end,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "PricingCategory": "Standard",
        "PricingCurrency": CURRENCY,
        "SubAccountType": "Project",
    }
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(_CHARGES, {"organization": organization.pk, "first": month.first_day, "last": month.last_day})
        read = cursor.fetchmany(500)
        fields = [column.name for column in cursor.description]
        while read:
            for row in read:
                charge = dict(zip(fields, row, strict=True))
                values = same | _of_any(charge) | (_of_storage(charge) if charge["store"] else _of_job(charge))
                yield [values.get(name) for name in names]
            read = cursor.fetchmany(500)


def _of_any(charge: dict[str, Any]) -> dict[str, Any]:
    return {
        "BilledCost": charge["amount"],
        "ChargeClass": "Correction" if charge["kind"] == "correction" else None,
        "ChargePeriodStart": charge["started_at"],
        "ChargePeriodEnd": charge["ended_at"],
        "EffectiveCost": charge["amount"],
        "HostProviderName": charge["host"],
        "InvoiceId": charge["invoice"],
        "InvoiceIssuerName": charge["contracting"],
        "PricingCurrencyEffectiveCost": charge["amount"],
        "ServiceProviderName": charge["service"],
        "SubAccountId": charge["project"],
        "SubAccountName": charge["project_name"],
        "x_SettlementId": charge["settlement"],
    }


def _of_job(charge: dict[str, Any]) -> dict[str, Any]:
    unit, per_gpu = PriceUnit(charge["unit"]), charge["per_gpu"]
    used = charge["gpu_seconds"] if per_gpu else charge["seconds"]
    category, subcategory = _SERVICE[OfferingKind(charge["offering_kind"])]
    details = {"x_GpuModel": charge["gpu_model"], "x_MinimumSeconds": charge["minimum_s"]}
    return _priced(charge, Decimal(used) / SECONDS[unit]) | {
        "ChargeDescription": f"{charge['offering_name']}, {charge['gpus']} GPU",
        "ConsumedQuantity": charge["gpu_seconds"],
        "ConsumedUnit": "GPU-Seconds",
        "PricingUnit": f"GPU-{_UNITS[unit]}" if per_gpu else _UNITS[unit],
        "RegionId": charge["site"],
        "RegionName": charge["site_name"],
        "ResourceId": charge["job_code"],
        "ResourceName": charge["job_code"],
        "ResourceType": "Job",
        "ServiceCategory": category,
        "ServiceName": charge["offering_name"],
        "ServiceSubcategory": subcategory,
        "SkuId": charge["offering"],
        "SkuMeter": "GPU time",
        "SkuPriceDetails": details,
        "SkuPriceId": f"{charge['offering']}/{charge['price_id']}",
        "x_JobId": charge["job_code"],
    }


def _of_storage(charge: dict[str, Any]) -> dict[str, Any]:
    gb_hours = charge["byte_hours"] / 1000**3
    kept = f"{charge['store']}/{charge['project']}/{charge['storage_kind']}"
    return _priced(charge, gb_hours / 24 / 30) | {
        "ChargeDescription": f"Storage of {charge['storage_kind']}",
        "ConsumedQuantity": gb_hours.quantize(_QUANTITY),
        "ConsumedUnit": "GB-Hours",
        "PricingUnit": "GB-Months",  # of 30 days, as the price is
        "ResourceId": kept,
        "ResourceName": charge["storage_kind"],
        "ResourceType": "Storage",
        "ServiceCategory": "Storage",
        "ServiceName": "Storage",
        "ServiceSubcategory": "Object Storage",
        "SkuId": "storage",
        "SkuMeter": "Data kept",
        "SkuPriceId": f"storage/{charge['price_id']}",
    }


def _priced(charge: dict[str, Any], quantity: Decimal) -> dict[str, Any]:
    """Nobody has a price of their own: what is contracted is what is listed."""
    taxed = charge["price"] if charge["tax_included"] else charge["price"] * (1 + charge["tax_percent"] / 100)
    price, quantity = taxed.quantize(_PRICE), quantity.quantize(_QUANTITY)
    return {
        "ContractedCost": price * quantity,
        "ContractedUnitPrice": price,
        "ListCost": price * quantity,
        "ListUnitPrice": price,
        "PricingCurrencyContractedUnitPrice": price,
        "PricingCurrencyListUnitPrice": price,
        "PricingQuantity": quantity,
    }


# --- Invoice Detail --------------------------------------------------------------------------------------------------
# Without PaymentCurrencyInvoiceDetailId: invoices are paid in the currency and by the lines they are written in.
INVOICE_DETAIL = _columns("""
    BilledCost:decimal BillingAccountId BillingCurrency BillingPeriodEnd:instant BillingPeriodStart:instant
    ChargeCategory InvoiceDetailCreated:instant InvoiceDetailDescription InvoiceDetailGrain:json InvoiceDetailId
    InvoiceDetailLastUpdated:instant InvoiceId InvoiceIssueDate:instant InvoiceIssueStatus InvoiceIssuerName
    PaymentCurrency PaymentCurrencyBilledCost:decimal PaymentDueDate:instant PaymentTerms PurchaseOrderNumber
    ReferenceInvoiceId
""")


def _invoice_detail(organization: Organization, month: BillingMonth) -> Iterator[list[Any]]:
    whole = month.interval
    lines = InvoiceLine.objects.filter(invoice__organization=organization, invoice__month=month.first_day)
    lines = lines.select_related("invoice__member", "invoice__corrects", "offering", "project")
    for line in lines.order_by("invoice_id", "position").iterator(chunk_size=500):
        invoice: Invoice = line.invoice
        grain = {
            "ServiceName": line.offering_en or None,
            "SkuId": line.offering.slug if line.offering else None,
            "SubAccountId": line.project.code if line.project else None,
            "x_Kind": line.kind,
            "x_OfMonth": f"{line.of_month:%Y-%m}" if line.of_month else None,
            "x_TaxPercent": float(line.percent),
        }
        yield [
            line.amount,
            organization.code,
            CURRENCY,
            whole.end,
            whole.start,
            "Credit" if line.kind == LineKind.DISCOUNT else "Usage",
            invoice.created_at,
            " / ".join(filter(None, (line.service_en, line.offering_en, line.project_name, line.kind))),
            {name: value for name, value in grain.items() if value is not None},
            f"{invoice.number}/{line.position}",
            invoice.created_at,
            invoice.number,
            interval_of_day(invoice.issued_on).start,
            "Issued",
            invoice.member.name_en,
            CURRENCY,
            line.amount,
            interval_of_day(invoice.due_on).start if invoice.due_on else None,
            f"Net {(invoice.due_on - invoice.issued_on).days}" if invoice.due_on else "Nothing to pay",
            invoice.purchase_order or None,
            invoice.corrects.number if invoice.corrects else invoice.number,
        ]


# --- Billing Period and Contract Commitment --------------------------------------------------------------------------
BILLING_PERIOD = _columns("""
    BillingPeriodCreated:instant BillingPeriodEnd:instant BillingPeriodLastUpdated:instant BillingPeriodStart:instant
    BillingPeriodStatus InvoiceIssuerName
""")
# Without the three for what we do not have: partial payment upfront, and prices in another currency.
CONTRACT_COMMITMENT = _columns("""
    BillingCurrency ContractCommitmentApplicability:json ContractCommitmentBenefitCategory ContractCommitmentCategory
    ContractCommitmentCost:decimal ContractCommitmentCreated:instant ContractCommitmentDescription
    ContractCommitmentDiscountPercentage:decimal ContractCommitmentDurationType ContractCommitmentFulfillmentInterval
    ContractCommitmentId ContractCommitmentLastUpdated:instant ContractCommitmentLifecycleStatus ContractCommitmentModel
    ContractCommitmentOfferCategory ContractCommitmentPaymentInterval ContractCommitmentPaymentModel
    ContractCommitmentPeriodEnd:instant ContractCommitmentPeriodStart:instant ContractCommitmentQuantity:decimal
    ContractCommitmentType ContractCommitmentUnit ContractId ContractPeriodEnd:instant ContractPeriodStart:instant
    InvoiceIssuerName ServiceProviderName
""")


def _billing_period(organization: Organization, month: BillingMonth) -> Iterator[list[Any]]:
    """One for each member who charges the organization in the month."""
    whole = month.interval
    closed: dict[int, datetime | None] = dict(
        BillingPeriod.objects.filter(
            organization=organization, month=month.first_day, state=PeriodState.CLOSED
        ).values_list("issuer", "closed_at")
    )
    charges = Charge.objects.filter(organization=organization, day__range=(month.first_day, month.last_day))
    issuers = charges.values_list("contracting_member", "contracting_member__name_en").annotate(Max("created_at"))
    for issuer, name, newest in issuers.order_by("contracting_member__position", "contracting_member"):
        at = closed.get(issuer)
        yield [whole.start, whole.end, at or newest, whole.start, "Closed" if at else "Open", name]


def _none(organization: Organization, month: BillingMonth) -> Iterator[list[Any]]:
    yield from ()


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("cost-and-usage", _("Charges (Cost and Usage)"), COST_AND_USAGE, _cost_and_usage),
        Dataset("invoice-detail", _("Lines of invoices (Invoice Detail)"), INVOICE_DETAIL, _invoice_detail),
        Dataset("billing-period", _("Billing months (Billing Period)"), BILLING_PERIOD, _billing_period),
        Dataset("contract-commitment", _("Commitments (Contract Commitment)"), CONTRACT_COMMITMENT, _none),
    )
}
