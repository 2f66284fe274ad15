"""Can this work run on that offering: a pure function of the request and the catalog's row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from portal.catalog.models import Offering, OfferingKind
from portal.jobs.request import TIME_LIMIT_MAX_S, TIME_LIMIT_MIN_S
from portal.providers.registry import SENDS_RESULTS

SENT_WITHIN_S = 6 * 86_400
HERE = "JP"  # data stays in the country


class Asked(Protocol):
    """The part of a JobRequest that decides where it can run."""

    @property
    def gpus(self) -> int: ...
    @property
    def time_limit_s(self) -> int: ...
    @property
    def image(self) -> str: ...


@dataclass(frozen=True)
class Refusal:
    """Why not, and which field of the form it is about."""

    field: str
    message: str | Promise


def refusals(asked: Asked, offering: Offering, *, on: date) -> list[Refusal]:
    """Empty: it can run there. Whether somebody runs the offering, and its price, are submission's to say."""
    found = []
    ended = offering.ends_on is not None and offering.ends_on < on
    gone = ended or offering.unlisted_since is not None
    if not offering.active or gone or offering.kind != OfferingKind.JOB or not offering.adapter:
        found.append(Refusal("offering", _("This GPU offering does not take jobs here. Choose another one.")))
    elif offering.site is not None and offering.site.country != HERE:
        found.append(Refusal("offering", _("This GPU offering is not in Japan. Choose another one.")))
    if not offering.allows_gpus(asked.gpus):
        found.append(Refusal("gpus", _gpus_allowed(offering)))
    longest = longest_s(offering)
    if not TIME_LIMIT_MIN_S <= asked.time_limit_s <= longest:
        found.append(
            Refusal(
                "time_limit",
                format_lazy(
                    _("The time limit must be between {shortest} minute and {longest} minutes on this offering."),
                    shortest=TIME_LIMIT_MIN_S // 60,
                    longest=longest // 60,
                ),
            )
        )
    if offering.containers and not asked.image:
        found.append(Refusal("image", _("This offering runs container images: give the name of one.")))
    return found


def longest_s(offering: Offering) -> int:
    """A job that sends its results itself must end while their addresses live; a day is left for its queue there."""
    most = SENT_WITHIN_S if offering.adapter in SENDS_RESULTS else TIME_LIMIT_MAX_S
    return min(offering.time_limit_max_s or most, most)


def _gpus_allowed(offering: Offering) -> Promise | str:
    if offering.gpus_min == offering.gpus_max:
        return format_lazy(_("The number of GPUs must be {count} on this offering."), count=offering.gpus_min)
    return format_lazy(
        _("The number of GPUs must be from {least} to {most} in steps of {step}."),
        least=offering.gpus_min,
        most=offering.gpus_max,
        step=offering.gpus_step,
    )
