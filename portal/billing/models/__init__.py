from portal.billing.models.accounts import BillingAccount, Credit, CreditKind, LedgerAccount, LedgerEntry, Trial
from portal.billing.models.charges import Charge, ChargeKind, DailyCharge, JobCharge
from portal.billing.models.limits import Budget, Hold
from portal.billing.models.periods import BillingPeriod, PeriodState

__all__ = [
    "BillingAccount",
    "BillingPeriod",
    "Budget",
    "Charge",
    "ChargeKind",
    "Credit",
    "CreditKind",
    "DailyCharge",
    "Hold",
    "JobCharge",
    "LedgerAccount",
    "LedgerEntry",
    "PeriodState",
    "Trial",
]
