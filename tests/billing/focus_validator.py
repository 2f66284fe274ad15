"""FOCUS 1.4 as rules of our own reading, written from its text and not from the exporter.

Source: FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, specification/datasets/*/dataset.md, columns/*.md and
attributes/*.md, read 2026-11-30. The column lists of all four datasets, types and whether nulls are allowed are the
tables of dataset.md; the column files give allowed values and conditions. What 1.5 introduces is left out. A file is
checked as text, as whoever loads it finds it: `violations` says every breach.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

STRING, DECIMAL, INSTANT, JSON = "String", "Decimal", "Date/Time", "JSON"


@dataclass(frozen=True)
class Rule:
    kind: str = STRING
    nulls: bool = False
    mandatory: bool = True
    allowed: tuple[str, ...] = ()


def _rules(
    kind: str, names: str, *, nulls: bool = False, mandatory: bool = True, allowed: tuple[str, ...] = ()
) -> dict[str, Rule]:
    return {name: Rule(kind, nulls, mandatory, allowed) for name in names.split()}


SUBCATEGORIES = {
    "AI Platforms": "AI and Machine Learning",
    "Machine Learning": "AI and Machine Learning",
    "Containers": "Compute",
    "Serverless Compute": "Compute",
    "Virtual Machines": "Compute",
    "Other (Compute)": "Compute",
    "Block Storage": "Storage",
    "File Storage": "Storage",
    "Object Storage": "Storage",
}  # of those there are, what a GPU portal may sell

COST_AND_USAGE: dict[str, Rule] = {
    # the 21 that every dataset has
    **_rules(DECIMAL, "BilledCost ContractedCost EffectiveCost ListCost"),
    **_rules(DECIMAL, "PricingQuantity", nulls=True),
    **_rules(INSTANT, "BillingPeriodEnd BillingPeriodStart ChargePeriodEnd ChargePeriodStart"),
    **_rules(STRING, "BillingAccountId HostProviderName InvoiceIssuerName ServiceName ServiceProviderName"),
    **_rules(STRING, "BillingAccountName ChargeDescription PricingUnit", nulls=True),
    **_rules(STRING, "BillingCurrency", allowed=("JPY",)),
    **_rules(STRING, "ChargeCategory", allowed=("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    **_rules(STRING, "ChargeClass", nulls=True, allowed=("Correction",)),
    **_rules(STRING, "ServiceCategory", allowed=tuple(sorted({*SUBCATEGORIES.values()}))),
    # recommended, or for those who have such a thing
    **_rules(STRING, "BillingAccountType PricingCurrency", mandatory=False),
    **_rules(STRING, "ChargeFrequency", mandatory=False, allowed=("One-Time", "Recurring", "Usage-Based")),
    **_rules(STRING, "ServiceSubcategory", mandatory=False, allowed=tuple(SUBCATEGORIES)),
    **_rules(DECIMAL, "PricingCurrencyEffectiveCost", mandatory=False),
    **_rules(
        STRING,
        "PricingCategory",
        nulls=True,
        mandatory=False,
        allowed=("Standard", "Dynamic", "Committed", "Other"),
    ),
    **_rules(
        STRING,
        "AllocatedMethodId AllocatedResourceId AllocatedResourceName AvailabilityZone CapacityReservationId"
        " CapacityReservationStatus CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName"
        " CommitmentDiscountStatus CommitmentDiscountType CommitmentDiscountUnit ConsumedUnit InvoiceDetailId InvoiceId"
        " RegionId RegionName ResourceId ResourceName ResourceType SkuId SkuMeter SkuPriceId SubAccountId"
        " SubAccountName SubAccountType",
        nulls=True,
        mandatory=False,
    ),
    **_rules(
        DECIMAL,
        "CommitmentDiscountQuantity ConsumedQuantity ContractedUnitPrice ListUnitPrice"
        " PricingCurrencyContractedUnitPrice PricingCurrencyListUnitPrice",
        nulls=True,
        mandatory=False,
    ),
    **_rules(
        JSON,
        "AllocatedMethodDetails AllocatedTags CommitmentProgramEligibilityDetails ContractApplied SkuPriceDetails Tags",
        nulls=True,
        mandatory=False,
    ),
}
BILLING_PERIOD: dict[str, Rule] = {
    **_rules(INSTANT, "BillingPeriodCreated BillingPeriodEnd BillingPeriodLastUpdated BillingPeriodStart"),
    **_rules(STRING, "BillingPeriodStatus", allowed=("Open", "Closed")),
    **_rules(STRING, "InvoiceIssuerName"),
}
INVOICE_DETAIL: dict[str, Rule] = {
    **_rules(DECIMAL, "BilledCost"),
    **_rules(DECIMAL, "PaymentCurrencyBilledCost", mandatory=False),
    **_rules(STRING, "BillingAccountId InvoiceDetailId InvoiceId InvoiceIssuerName PaymentTerms ReferenceInvoiceId"),
    **_rules(STRING, "BillingCurrency PaymentCurrency", allowed=("JPY",)),
    **_rules(STRING, "PaymentCurrencyInvoiceDetailId", mandatory=False),
    **_rules(STRING, "PurchaseOrderNumber", nulls=True, mandatory=False),
    **_rules(STRING, "InvoiceDetailDescription", nulls=True),
    **_rules(STRING, "ChargeCategory", allowed=("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    **_rules(STRING, "InvoiceIssueStatus", allowed=("Open", "Issued", "Voided")),
    **_rules(INSTANT, "BillingPeriodEnd BillingPeriodStart InvoiceDetailCreated InvoiceDetailLastUpdated"),
    **_rules(INSTANT, "InvoiceIssueDate PaymentDueDate", nulls=True),
    **_rules(JSON, "InvoiceDetailGrain", nulls=True),
}
CONTRACT_COMMITMENT: dict[str, Rule] = {
    **_rules(STRING, "BillingCurrency ContractCommitmentDescription ContractCommitmentUnit", nulls=True),
    **_rules(
        DECIMAL,
        "ContractCommitmentCost ContractCommitmentDiscountPercentage ContractCommitmentQuantity",
        nulls=True,
    ),
    **_rules(JSON, "ContractCommitmentApplicability"),
    **_rules(
        INSTANT,
        "ContractCommitmentCreated ContractCommitmentLastUpdated ContractCommitmentPeriodEnd"
        " ContractCommitmentPeriodStart ContractPeriodEnd ContractPeriodStart",
    ),
    **_rules(
        STRING,
        "ContractCommitmentBenefitCategory ContractCommitmentCategory ContractCommitmentDurationType"
        " ContractCommitmentFulfillmentInterval ContractCommitmentId ContractCommitmentLifecycleStatus"
        " ContractCommitmentModel ContractCommitmentOfferCategory ContractCommitmentPaymentInterval"
        " ContractCommitmentPaymentModel ContractCommitmentType ContractId InvoiceIssuerName ServiceProviderName",
    ),
    **_rules(
        DECIMAL, "ContractCommitmentPaymentUpfrontPercentage PricingCurrencyContractCommitmentCost", mandatory=False
    ),
    **_rules(STRING, "PricingCurrency", mandatory=False),
}

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_TIME = "Year|Month|Day|Hour|Minute|Second"
_UNIT = re.compile(rf"([A-Z][A-Za-z]*-)?({_TIME})s")


def violations(rules: Mapping[str, Rule], header: list[str], rows: Iterable[Mapping[str, str]]) -> list[str]:
    """`rows` as csv.DictReader gives them; an empty cell is a null."""
    own = [name for name in header if name.startswith("x_")]
    focus = header[: len(header) - len(own)]
    found = [f"{name}: missing" for name, rule in rules.items() if rule.mandatory and name not in header]
    found += [f"{name}: no column of FOCUS" for name in focus if name not in rules]
    found += [f"{name}: twice" for name in set(header) if header.count(name) > 1]
    for number, row in enumerate(rows, 1):
        found += [f"{number} {breach}" for name in focus if name in rules for breach in _cell(name, rules[name], row)]
        if rules is COST_AND_USAGE:
            found += [f"{number} {breach}" for breach in _charge(row)]
        if "BillingPeriodStart" in rules and row["BillingPeriodStart"] >= row["BillingPeriodEnd"]:
            found.append(f"{number} BillingPeriodEnd: not after its start")
    return found


def _cell(name: str, rule: Rule, row: Mapping[str, str]) -> Iterable[str]:
    text = row[name]
    if text == "":
        if not rule.nulls:
            yield f"{name}: null"
        return
    if rule.kind == DECIMAL and not _NUMBER.fullmatch(text):
        yield f"{name}: no number: {text}"
    if rule.kind == INSTANT and not _INSTANT.fullmatch(text):
        yield f"{name}: no instant in UTC: {text}"
    if rule.kind == JSON and not isinstance(_object(text), dict):
        yield f"{name}: no JSON object: {text}"
    if rule.kind == STRING and text != text.strip():
        yield f"{name}: white space around it"
    if rule.allowed and text not in rule.allowed:
        yield f"{name}: not allowed: {text}"


def _object(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _charge(row: Mapping[str, str]) -> Iterable[str]:
    """Conditions between the columns of one row."""

    def null(name: str) -> bool:
        return row.get(name, "") == ""

    if row["ChargePeriodStart"] >= row["ChargePeriodEnd"]:
        yield "ChargePeriodEnd: not after its start"
    correction = row["ChargeClass"] == "Correction"
    inside = row["BillingPeriodStart"] <= row["ChargePeriodStart"] and row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    if not inside and not correction:
        yield "ChargePeriodStart: outside of the billing period"
    if row["ChargeCategory"] in ("Usage", "Purchase") and not correction:
        for name in ("PricingQuantity", "PricingUnit", "ListUnitPrice", "ContractedUnitPrice", "PricingCategory"):
            if null(name):
                yield f"{name}: null on use"
        for name in ("SkuId", "SkuPriceId"):
            if null(name):
                yield f"{name}: null on use"
    for one, other in (
        ("PricingQuantity", "PricingUnit"),
        ("ConsumedQuantity", "ConsumedUnit"),
        ("RegionId", "RegionName"),
        ("SubAccountId", "SubAccountType"),
        ("SkuPriceId", "ListUnitPrice"),
        ("SkuPriceId", "ContractedUnitPrice"),
    ):
        if null(one) != null(other):
            yield f"{other}: null without {one}, or the other way"
    for name, needs in (("SkuMeter", "SkuId"), ("SkuPriceDetails", "SkuPriceId"), ("PricingCategory", "SkuPriceId")):
        if null(needs) and not null(name):
            yield f"{name}: without {needs}"
    for cost, price in (("ListCost", "ListUnitPrice"), ("ContractedCost", "ContractedUnitPrice")):
        if not null(price) and not null("PricingQuantity"):
            if Decimal(row[price]) < 0:
                yield f"{price}: negative"
            if Decimal(row[cost]) != Decimal(row[price]) * Decimal(row["PricingQuantity"]):
                yield f"{cost}: not price times quantity"
    for name in ("PricingUnit", "ConsumedUnit"):
        if not null(name) and not _UNIT.fullmatch(row[name]):
            yield f"{name}: no unit: {row[name]}"
    if row["ChargeCategory"] == "Usage" and null("CommitmentDiscountId") and row["BilledCost"] != row["EffectiveCost"]:
        yield "EffectiveCost: not the billed one, though nothing covers it"
    if not null("ServiceSubcategory") and SUBCATEGORIES.get(row["ServiceSubcategory"]) != row["ServiceCategory"]:
        yield "ServiceSubcategory: of another category"
    details = _object(row.get("SkuPriceDetails") or "{}")
    known = {"CoreCount", "DiskSpace", "GpuCount", "InstanceType", "InstanceSeries", "MemorySize", "OperatingSystem"}
    if isinstance(details, dict) and (wrong := [key for key in details if key not in known and key[:2] != "x_"]):
        yield f"SkuPriceDetails: keys without x_: {wrong}"
