"""What an import checker cannot see. The import contracts themselves are in pyproject.toml (lint-imports)."""

import io

from django.apps import apps
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
