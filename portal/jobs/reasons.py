"""What the rule of placement decided, in sentences: the table of plans, and what stands in the way where none fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext, pgettext_lazy

from portal.catalog.models import Architecture, Offering
from portal.core.templatetags import formats
from portal.jobs.placement.nearest import nearest
from portal.jobs.placement.rule import Candidate, Decision, Placed, Reason, Refusal, Spec, Strategy, Why

STRATEGY_NAMES = {
    Strategy.CHEAPEST: pgettext_lazy("placement", "cheapest"),
    Strategy.FASTEST: pgettext_lazy("placement", "begins soonest"),
    Strategy.CLOSEST: pgettext_lazy("placement", "closest to the data"),
}


@dataclass(frozen=True)
class Row:
    """A plan in the table. `rank` 0: refused, for `reasons`. `begins`, `data`: what is known of its time, and of the
    way of the data; "" where there is nothing to say."""

    offering: Offering
    rank: int = 0
    yen: int = 0
    begins: str = ""
    data: str = ""
    reasons: Sequence[str] = ()


def rows_of(decision: Decision, spec: Spec, offerings: Mapping[str, Offering]) -> list[Row]:
    """The candidates, the best first, then the refused ones. `offerings`: by the key of their offer."""
    found = [
        Row(offerings[one.key], rank, one.yen, begins_words(one, spec), data_words(one, spec))
        for rank, one in enumerate(decision.candidates, start=1)
        if one.key in offerings
    ]
    refused = [
        Row(offerings[one.key], reasons=[reason_words(reason, spec) for reason in one.reasons])
        for one in decision.refused
        if one.key in offerings
    ]
    return [*found, *sorted(refused, key=lambda row: (len(row.reasons), row.offering.slug))]


def begins_words(one: Candidate, spec: Spec) -> str:
    if not one.answers:
        said = _("The provider does not answer at the moment")
    elif one.wait_from == "assumed":
        said = _("Not known; reckoned with %(time)s") % {"time": formats.duration(one.wait_s)}
    elif one.wait_from == "seen":
        said = _("At once: a free GPU was seen")
    else:
        said = _("In about %(time)s, as the last jobs there") % {"time": formats.duration(one.wait_s)}
    if spec.deadline is not None and not one.deadline_sure:
        said = _("%(said)s. Whether it ends in time is not sure") % {"said": said}
    return said


def data_words(one: Candidate, spec: Spec) -> str:
    if not spec.data_bytes:
        return ""
    if not one.missing_bytes:
        return _("All of it is there")
    amounts = {"size": formats.bytes(one.missing_bytes), "time": formats.duration(one.transfer_s)}
    if one.transfer_known:
        said = _("%(size)s to bring, about %(time)s") % amounts
    else:
        said = _("%(size)s to bring; the rate is not known, reckoned with %(time)s") % amounts
    if one.transfer_yen_known and one.transfer_yen:
        said = _("%(said)s, for %(yen)s") % {"said": said, "yen": formats.yen(one.transfer_yen)}
    return said


def reason_words(reason: Reason, spec: Spec) -> str:
    """Why a plan is refused, in a few words."""
    return _WORDS[reason.why](reason, spec)


def _gpus(count: object) -> str:
    return ngettext("%(n)s GPU", "%(n)s GPUs", int(str(count))) % {"n": count}


_WORDS: dict[Why, Callable[[Reason, Spec], str]] = {
    Why.GPU_MODEL: lambda r, s: (
        _("The GPU is %(has)s") % {"has": r.numbers["has"]} if r.numbers["has"] else _("The GPU model is not stated")
    ),
    Why.MEMORY: lambda r, s: (
        _("%(has)s GB of memory for each GPU") % {"has": r.numbers["has_gb"]}
        if r.numbers["has_gb"]
        else _("The GPU's memory is not stated")
    ),
    Why.GPUS: lambda r, s: (
        _("Not with %(asked)s; with %(nearest)s it is")
        % {"asked": _gpus(s.gpus), "nearest": _gpus(r.numbers["nearest"])}
    ),
    Why.NODES: lambda r, s: _("Needs %(n)s machines for so many GPUs") % {"n": r.numbers["needs"]},
    Why.ARCHITECTURE: lambda r, s: _("Runs programs built for %(has)s") % {"has": _architecture(r.numbers["has"])},
    Why.PROVIDER: lambda r, s: _("Is of another provider"),
    Why.COUNTRY: lambda r, s: (
        _("Is not in Japan") if r.numbers["has"] else _("Nobody states the country of its machines")
    ),
    Why.TIME_LIMIT: lambda r, s: _("Runs jobs for up to %(most)s") % {"most": formats.duration(_int(r, "most_s"))},
    Why.CAP: lambda r, s: _("Until the time limit it can cost %(yen)s") % {"yen": formats.yen(_int(r, "needs_yen"))},
    Why.DEADLINE: lambda r, s: _("Would end %(time)s too late") % {"time": formats.duration(_int(r, "late_s"))},
    Why.NO_IMAGE: lambda r, s: _("Runs container images, and none is given"),
    Why.NO_CONTAINERS: lambda r, s: _("Does not run container images"),
    Why.LOGIN: lambda r, s: _("Can fetch public images only"),
    Why.TRIED: lambda r, s: _("Was tried before"),
    Why.UNREACHABLE: lambda r, s: _("Its provider cannot be reached"),
    Why.CLOSED: lambda r, s: _("Took no jobs at that moment"),
}


def _int(reason: Reason, name: str) -> int:
    return int(str(reason.numbers[name]))


def _architecture(value: object) -> str:
    return str(Architecture(value).label) if value in Architecture.values else str(value)


# --- where nothing fits ----------------------------------------------------------------------------------------------

FIELDS: dict[Why, str] = {
    Why.GPU_MODEL: "gpu_model",
    Why.MEMORY: "gpu_memory",
    Why.GPUS: "gpus",
    Why.NODES: "nodes",
    Why.ARCHITECTURE: "architecture",
    Why.PROVIDER: "provider",
    Why.TIME_LIMIT: "time_amount",
    Why.CAP: "cost_cap",
    Why.DEADLINE: "deadline",
    Why.NO_IMAGE: "image",
    Why.NO_CONTAINERS: "image",
    Why.LOGIN: "image",
}
SHOWN = 3


@dataclass(frozen=True)
class Obstacle:
    """The field whose need makes it impossible, and the sentence that says so and what would do instead."""

    field: str
    sentence: str


def obstacles(decided: Placed, offerings: Mapping[str, Offering]) -> list[Obstacle]:
    """Of a decision without candidates: for each way out the one that asks least, three at most."""
    spec = decided.spec
    if spec.deadline is not None and spec.deadline <= decided.at:
        return [Obstacle("deadline", _("This moment is over. Enter one that is still to come, or nothing."))]
    found = []
    for refusal in nearest(decided.decision)[:SHOWN]:
        field = next((FIELDS[r.why] for r in refusal.reasons if r.why in FIELDS), "offering")
        found.append(Obstacle(field, _sentence(refusal, spec, offerings[refusal.key].name)))
    return found or [Obstacle("offering", _("No plan takes jobs now. Your draft is kept; come back later."))]


def _sentence(refusal: Refusal, spec: Spec, plan: str) -> str:
    if len(refusal.reasons) == 1:
        return _impossible(refusal.reasons[0], spec, plan)
    reasons = pgettext("between reasons", ", ").join(reason_words(reason, spec) for reason in refusal.reasons)
    return _("No plan meets all needs. Nearest is %(plan)s, against which stands: %(reasons)s.") % {
        "plan": plan,
        "reasons": reasons,
    }


def _impossible(reason: Reason, spec: Spec, plan: str) -> str:
    asked = {"gpus": _gpus(spec.gpus), "kind": _kind(spec), "plan": plan}
    why, numbers = reason.why, reason.numbers
    if why == Why.GPUS:
        return _("No plan has %(gpus)s %(kind)s; %(nearest)s %(kind)s exist (%(plan)s).") % {
            **asked,
            "nearest": _gpus(numbers["nearest"]),
        }
    if why == Why.MEMORY and numbers["has_gb"]:
        return _("No plan has %(gpus)s %(kind)s; up to %(has)s GB each exist (%(plan)s).") % {
            **asked,
            "has": numbers["has_gb"],
        }
    if why == Why.CAP:
        return _("%(gpus)s %(kind)s can cost %(yen)s until the time limit (%(plan)s). Raise the cap to it, or shorten"
                 " the time.") % {**asked, "yen": formats.yen(_int(reason, "needs_yen"))}  # fmt: skip
    if why == Why.DEADLINE:
        return _("The job would end %(late)s too late even on the soonest plan (%(plan)s). Shorten the time limit, or"
                 " move the deadline.") % {**asked, "late": formats.duration(_int(reason, "late_s"))}  # fmt: skip
    return _("No plan meets all needs. Nearest is %(plan)s, against which stands: %(reasons)s.") % {
        **asked,
        "reasons": reason_words(reason, spec),
    }


def _kind(spec: Spec) -> str:
    """What is asked of each GPU: ""  where nothing is."""
    if spec.gpu_model and spec.memory_gb:
        return _("(%(model)s, at least %(gb)s GB)") % {"model": spec.gpu_model, "gb": spec.memory_gb}
    if spec.memory_gb:
        return _("with %(gb)s GB") % {"gb": spec.memory_gb}
    return f"({spec.gpu_model})" if spec.gpu_model else _("of any model")
