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
from portal.billing.models.limits import Budget, Hold
from portal.billing.models.periods import BillingPeriod, PeriodState

__all__ = [
    "GIVEN",
    "BillingAccount",
    "BillingPeriod",
    "Budget",
    "Charge",
    "ChargeKind",
    "Credit",
    "CreditKind",
    "CreditUse",
    "DailyCharge",
    "Hold",
    "JobCharge",
    "JobUse",
    "LedgerAccount",
    "LedgerEntry",
    "PeriodState",
    "Trial",
]
