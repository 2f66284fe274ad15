from portal.billing.models.accounts import BillingAccount, Credit, CreditKind, LedgerAccount, LedgerEntry, Trial
from portal.billing.models.charges import Charge, DailyCharge, JobCharge
from portal.billing.models.limits import Budget, Hold

__all__ = [
    "BillingAccount",
    "Budget",
    "Charge",
    "Credit",
    "CreditKind",
    "DailyCharge",
    "Hold",
    "JobCharge",
    "LedgerAccount",
    "LedgerEntry",
    "Trial",
]
