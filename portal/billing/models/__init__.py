from portal.billing.models.accounts import (
    GIVEN,
    BillingAccount,
    Credit,
    CreditKind,
    LedgerAccount,
    LedgerEntry,
    Trial,
)
from portal.billing.models.charges import Charge, ChargeKind, CreditUse, DailyCharge, JobCharge, JobUse
from portal.billing.models.invoices import (
    BillingProfile,
    Invoice,
    InvoiceDocument,
    InvoiceKind,
    InvoiceLine,
    InvoiceSequence,
    InvoiceTax,
    Issuer,
    LineKind,
    Payment,
    PaymentState,
)
from portal.billing.models.limits import Budget, Hold
from portal.billing.models.periods import BillingPeriod, PeriodState
from portal.billing.models.sums import MonthlyCharge, PersonCharge

__all__ = [
    "GIVEN",
    "BillingAccount",
    "BillingPeriod",
    "BillingProfile",
    "Budget",
    "Charge",
    "ChargeKind",
    "Credit",
    "CreditKind",
    "CreditUse",
    "DailyCharge",
    "Hold",
    "Invoice",
    "InvoiceDocument",
    "InvoiceKind",
    "InvoiceLine",
    "InvoiceSequence",
    "InvoiceTax",
    "Issuer",
    "JobCharge",
    "JobUse",
    "LedgerAccount",
    "LedgerEntry",
    "LineKind",
    "MonthlyCharge",
    "Payment",
    "PaymentState",
    "PeriodState",
    "PersonCharge",
    "Trial",
]
