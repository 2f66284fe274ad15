"""What was found, for people and for programs."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence

from portal.providers.conformance.kit import Finding, Result

MARKS = {Result.HELD: "held", Result.BROKEN: "BROKEN", Result.NOT_OFFERED: "not offered"}


def score(findings: Sequence[Finding]) -> dict[str, int]:
    """How many of each, and the percentage held of what is offered."""
    counts = Counter(finding.result for finding in findings)
    offered = counts[Result.HELD] + counts[Result.BROKEN]
    return {
        "held": counts[Result.HELD],
        "broken": counts[Result.BROKEN],
        "not_offered": counts[Result.NOT_OFFERED],
        "percent": 100 * counts[Result.HELD] // offered if offered else 0,
    }


def table(findings: Sequence[Finding]) -> str:
    """One line a promise, by area; what is broken shows in capitals."""
    lines, area = [], ""
    for finding in findings:
        if finding.promise.area != area:
            area = finding.promise.area
            lines += ["", area.replace("_", " ").upper()]
        lines.append(line(finding))
    numbers = score(findings)
    lines += [
        "",
        f"{numbers['held']} held, {numbers['broken']} broken, {numbers['not_offered']} not offered:"
        f" {numbers['percent']} % of what is offered.",
    ]
    return "\n".join(lines)


def line(finding: Finding) -> str:
    return f"{MARKS[finding.result]:12}{_wide(finding.promise.sentence, 78)} {finding.evidence}"


def to_json(findings: Sequence[Finding], **about: str) -> str:
    return json.dumps(
        {
            **about,
            "score": score(findings),
            "promises": [
                {
                    "area": finding.promise.area,
                    "promise": finding.promise.sentence,
                    "result": finding.result.value,
                    "evidence": finding.evidence,
                    "seconds": round(finding.seconds, 2),
                }
                for finding in findings
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def _wide(text: str, columns: int) -> str:
    """Padded to columns of a terminal, where a Japanese character takes two."""
    taken = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return text + " " * max(0, columns - taken)
