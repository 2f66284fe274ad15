from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.catalog.models import Offering
from portal.jobs.models import Job, Placement
from portal.jobs.placement.rule import Candidate, Refusal
from portal.jobs.placement.spelling import canonical, decision_json, place_again, read_decision


class Command(BaseCommand):
    help = "Decides again where a job goes, from what was stored then. Exit code 1 when it comes out otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", help="its code, J-…")
        parser.add_argument("--json", action="store_true", help="what was stored and what comes out, as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        job = Job.objects.filter(code=options["job"]).first()
        if job is None:
            raise CommandError(f"There is no job {options['job']}.")
        stored = list(job.placements.order_by("number"))
        if not stored:
            raise CommandError(f"{job.code}: a person has chosen the plan, the portal decided nothing.")
        again = [decision_json(place_again(one.input)) for one in stored]
        equal = [canonical(new) == canonical(one.decision) for one, new in zip(stored, again, strict=True)]
        if options["json"]:
            told = [
                {
                    "attempt": one.number, "version": one.version, "chosen": one.chosen, "equal": same,
                    "input": one.input, "decision": one.decision, "decided_again": new,
                }
                for one, new, same in zip(stored, again, equal, strict=True)
            ]  # fmt: skip
            self.stdout.write(json.dumps(told, ensure_ascii=False, indent=2, sort_keys=True))
        else:
            for one, same in zip(stored, equal, strict=True):
                self._table(one, same)
        if not all(equal):
            sys.exit(1)

    def _table(self, stored: Placement, equal: bool) -> None:
        decision = read_decision(stored.decision)
        keys = [*(one.key for one in decision.candidates), *(one.key for one in decision.refused)]
        slugs = dict(Offering.objects.filter(pk__in=keys).values_list("pk", "slug"))
        verdict = "equal" if equal else "NOT EQUAL"
        self.stdout.write(f"Attempt {stored.number}, rule {stored.version}, {stored.input['at']}: {verdict}")
        for rank, one in enumerate(decision.candidates, start=1):
            self.stdout.write(f"  {rank}. {slugs.get(int(one.key), one.key)}: {_parts(one)}")
        for refusal in decision.refused:
            self.stdout.write(f"  -  {slugs.get(int(refusal.key), refusal.key)}: {_reasons(refusal)}")


def _parts(one: Candidate) -> str:
    data = f"{one.missing_bytes} bytes to bring in {one.transfer_s} s{'' if one.transfer_known else ' (assumed)'}"
    late = "" if one.answers else ", does not answer"
    return f"{one.yen} yen, begins in {one.begins_s} s (wait {one.wait_s} s, {one.wait_from}; {data}){late}"


def _reasons(refusal: Refusal) -> str:
    return "; ".join(
        reason.why + "".join(f" {name}={value}" for name, value in reason.numbers.items()) for reason in refusal.reasons
    )
