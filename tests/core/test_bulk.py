from itertools import islice

import pytest
from django.db import IntegrityError, transaction

from portal.catalog.models import Provider
from portal.core.bulk import copy_rows, next_ids
from tests.factories import ProviderFactory

pytestmark = pytest.mark.django_db
COLUMNS = ("id", "slug", "name_ja", "name_en", "short_ja", "short_en", "position")


def test_rows_are_written_as_they_are_and_ids_are_nobody_elses() -> None:
    before = ProviderFactory(slug="kddi").pk
    ids = list(islice(next_ids("catalog_provider", at_once=2), 5))
    texts = ("タブ\t改行\n\\", "", "NULL", "\\N", "'\";--")
    copy_rows(
        "catalog_provider",
        COLUMNS,
        ((pk, f"p{pk}", text, "n", "s", "s", 0) for pk, text in zip(ids, texts, strict=True)),
    )
    after = ProviderFactory(slug="highreso").pk
    assert len({before, *ids, after}) == 7
    found = Provider.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "name_ja")
    assert list(found) == list(zip(sorted(ids), texts, strict=True))


def test_constraints_hold_and_nothing_is_written_then() -> None:
    rows = [(pk, "same", "n", "n", "s", "s", 0) for pk in islice(next_ids("catalog_provider", at_once=2), 2)]
    with pytest.raises(IntegrityError, match="slug"), transaction.atomic():
        copy_rows("catalog_provider", COLUMNS, rows)
    assert Provider.objects.count() == 0
