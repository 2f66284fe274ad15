"""What an import checker cannot see. The import contracts themselves are in pyproject.toml (lint-imports)."""

import io
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import call_command

# From the ground up: a foreign key may point to its own app or to one further down.
ORDER = ["core", "audit", "accounts", "catalog", "usage", "billing", "datasets", "jobs", "home"]
BESIDE = {("billing", "datasets"), ("datasets", "billing")}


def test_foreign_keys_point_down() -> None:
    up = []
    for model in apps.get_models():
        if model._meta.app_label not in ORDER:
            continue
        for field in model._meta.get_fields():
            target = getattr(field, "related_model", None)
            if not field.concrete or target is None or target._meta.app_label not in ORDER:
                continue
            pair = (model._meta.app_label, target._meta.app_label)
            if ORDER.index(pair[1]) > ORDER.index(pair[0]) or pair in BESIDE:
                up.append(f"{model.__name__}.{field.name} -> {target.__name__}")
    assert up == []


def test_audit_and_its_rows_have_no_foreign_keys() -> None:
    assert [f.name for m in apps.get_app_config("audit").get_models() for f in m._meta.fields if f.remote_field] == []


def test_migrations_are_complete(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, stdout=io.StringIO())


def test_system_checks_are_clean() -> None:
    call_command("check", fail_level="WARNING")


# --- tests mirror modules: portal/<app>/<module>.py has tests/<app>/test_<module>.py ---------------------------------
NOT_IN_THE_PATH = {"management", "commands", "templatetags"}  # tests/core/test_formats.py
NOTHING_TO_TEST = {"__init__.py", "apps.py", "urls.py", "dev_urls.py", "desk_urls.py"}
# The file that tests it, or why none does. A folder stands for all in it that have no file of their own.
ELSEWHERE = {
    "wsgi.py": "one call of Django's",
    "audit/management/commands/verify_audit.py": "tests/audit/test_verification.py",
    "audit/models.py": "columns; its rows are tried in tests/core/test_append_only.py",
    "billing/management/commands/close_month.py": "tests/billing/test_invoicing.py",
    "billing/management/commands/record_payment.py": "tests/billing/test_payments.py",
    "billing/management/commands/set_invoice_credit.py": "tests/billing/test_payments.py",
    "billing/management/commands/set_issuer.py": "tests/billing/test_issuers.py",
    "billing/management/commands/recount_charges.py": "one loop over tests/billing/test_sums.py's function",
    "billing/management/": "tests/billing/test_settlement.py",
    "billing/management/commands/verify_ledger.py": "tests/billing/test_verification.py",
    "billing/models/": "tests/billing/test_holds.py",
    "billing/budget_list.py": "tests/billing/views/test_budgets.py",
    "billing/emails.py": "tests/billing/test_alerts.py, tests/billing/test_approvals.py",
    "billing/overview.py": "tests/billing/test_views.py",
    "billing/spend_requests.py": "tests/billing/test_approvals.py",
    "billing/views/": "tests/billing/test_views.py",
    "billing/views/invoices.py": "tests/billing/test_invoice_pages.py",
    "billing/tasks.py": "one call of one function",
    "core/requests.py": "tests/core/test_production.py",
    "core/static_files.py": "tests/core/test_production.py",
    "home/middleware.py": "tests/core/test_production.py",
    "catalog/management/commands/seed_catalog.py": "tests/catalog/test_seed.py",
    "catalog/tasks.py": "passes rows on to tests/catalog/test_sync.py's functions",
    "catalog/emails.py": "tests/catalog/test_waitlist.py",
    "catalog/waitlist_forms.py": "tests/catalog/test_waitlist.py",
    "catalog/waitlist_views.py": "tests/catalog/test_waitlist.py",
    "datasets/emails.py": "tests/datasets/test_cleaning.py, tests/datasets/test_tasks.py",
    "datasets/management/commands/set_storage_limit.py": "tests/datasets/test_quota.py",
    "datasets/management/commands/verify_storage.py": "tests/datasets/test_verification.py",
    "datasets/models/": "tests/datasets/test_models.py",
    "datasets/views/certificates.py": "tests/datasets/test_certificates.py",
    "datasets/management/commands/add_storage_site.py": "tests/datasets/test_sites.py",
    "datasets/management/commands/residency_report.py": "tests/datasets/test_residency.py",
    "datasets/views/expiry.py": "tests/datasets/test_expiry.py",
    "datasets/views/sending.py": "tests/datasets/test_uploading.py",
    "datasets/views/": "tests/datasets/test_views.py",
    "home/management/commands/prepare.py": "tests/browser/conftest.py",
    "home/management/commands/seed_demo.py": "tests/home/test_demo.py",
    "home/models.py": "columns",
    "home/onboarding.py": "tests/accounts/test_signing_up.py",
    "jobs/failure_rules.py": "tests/jobs/test_diagnosis.py",
    "jobs/management/commands/explain_placement.py": "tests/jobs/test_placing.py",
    "jobs/management/commands/reconcile_usage.py": "tests/jobs/test_statements.py",
    "jobs/management/commands/reconcile.py": "tests/jobs/test_reconciliation.py",
    "jobs/management/commands/verify_jobs.py": "tests/jobs/test_verification.py",
    "jobs/starters/": "tests/jobs/test_starters.py",
    "jobs/views/": "tests/jobs/test_views.py",
    "launcher/errors.py": "tests/launcher/test_messages.py",
    "launcher/services.py": "tests/launcher/test_postgres.py",
    "providers/emulators/settings.py": "one dataclass",
    "providers/conformance/": "tests/providers/test_conformance.py",
    "providers/emulators/": "tests/providers/emulators/test_emulators.py",
    "providers/errors.py": "classes that carry two values",
    "providers/slurm_ssh/": "tests/providers/test_conformance.py",
    "usage/models.py": "tests/usage/test_recording.py",
}


def test_every_module_has_its_tests_beside_it_or_stands_in_the_list() -> None:
    root = Path(settings.BASE_DIR)
    without = []
    for path in sorted((root / "portal").rglob("*.py")):
        module = path.relative_to(root / "portal")
        if path.name in NOTHING_TO_TEST or "migrations" in module.parts:
            continue
        folder = [part for part in module.parts[:-1] if part not in NOT_IN_THE_PATH]
        if not root.joinpath("tests", *folder, f"test_{path.name}").exists():
            without.append(str(module))
    found_under = {
        module: max((key for key in ELSEWHERE if module.startswith(key)), key=len, default="") for module in without
    }
    assert [module for module, key in found_under.items() if not key] == []
    # What got a file of its own, or is gone, leaves the list.
    assert set(ELSEWHERE) - set(found_under.values()) == set()
    named = [reason for reason in ELSEWHERE.values() if reason.endswith(".py") and " " not in reason]
    assert [name for name in named if not (root / name).exists()] == []
