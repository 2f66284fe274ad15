from portal.billing.models.accounts import BillingAccount, Credit, CreditKind, LedgerAccount, LedgerEntry, Trial
from portal.billing.models.charges import Charge, DailyCharge, JobCharge
from portal.billing.models.limits import (
    THRESHOLDS,
    Allowance,
    Budget,
    BudgetAction,
    BudgetAlert,
    BudgetPeriod,
    Hold,
    SpendRequest,
    SpendState,
)

__all__ = [
    "THRESHOLDS",
    "Allowance",
    "BillingAccount",
    "Budget",
    "BudgetAction",
    "BudgetAlert",
    "BudgetPeriod",
    "Charge",
    "Credit",
    "CreditKind",
    "DailyCharge",
    "Hold",
    "JobCharge",
    "LedgerAccount",
    "LedgerEntry",
    "SpendRequest",
    "SpendState",
    "Trial",
]
