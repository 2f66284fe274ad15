import re

import pytest
from django.utils.translation import override

from portal.catalog import seed, sources
from portal.catalog.models import Offering, Price, Site

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
# What may stay in Latin letters in a Japanese sentence: addresses, product names and version numbers.
NAMES = re.compile(r"\S+[./]\S+|[A-Z]{2,}|1\.0\.0|is1a|alaif-net")


@pytest.fixture
def stored(db: None) -> set[str]:
    """Every source that the seed writes, and the one of the sync."""
    seed.load(demo=True)
    return {
        *Site.objects.values_list("source", flat=True),
        *Offering.objects.values_list("source", flat=True),
        *Price.objects.values_list("source", flat=True),
        sources.PROVIDER_API,
    }


def test_every_source_reads_as_japanese_in_japanese_and_as_english_in_english(stored: set[str]) -> None:
    with override("ja"):
        ja = {source: sources.words(source) for source in stored}
    with override("en"):
        en = {source: sources.words(source) for source in stored}
    assert [s for s in stored if not JAPANESE.search(ja[s]) or re.search(r"[a-z]{3}", NAMES.sub("", ja[s]))] == []
    assert [s for s in stored if JAPANESE.search(en[s]) or en[s] != s] == []


def test_a_source_that_somebody_typed_in_stays_as_it_is() -> None:
    with override("ja"):
        assert [sources.words(s) for s in ("見積書 2026-10", "Quote 7", "")] == ["見積書 2026-10", "Quote 7", ""]
