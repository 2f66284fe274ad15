"""What every adapter promises, as an executable kit: it takes any configured account and says what is held.

    python manage.py check_provider SLUG       a table, and a JSON file with evidence and score
    tests/providers/test_conformance.py        the same against each emulator and against a real Slurm

A promise is a function in `promises/`, named as a sentence. It gets a Bench (an adapter, an account, a store that the
provider's machines reach) and returns its evidence; it ends in Broken where the promise does not hold, and in
NotOffered where the provider lacks the ability. Jobs are dear, so the promises share a few sample jobs (samples.py)
that are submitted at the beginning and looked at from many sides. Nothing of Django is known here.
"""

from portal.providers.conformance.bench import Bench, Store, Target
from portal.providers.conformance.kit import Broken, Finding, NotOffered, Promise, Result, all_promises, begin, examine
from portal.providers.conformance.report import score, table, to_json

__all__ = [
    "Bench", "Broken", "Finding", "NotOffered", "Promise", "Result", "Store", "Target", "all_promises", "begin",
    "examine", "score", "table", "to_json",
]  # fmt: skip
