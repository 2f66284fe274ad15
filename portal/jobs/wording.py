"""What a job's page says in whole sentences: failures with the next step, and events by their key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import get_language, gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from portal.core.templatetags.formats import duration, instant_short, yen
from portal.jobs.models import JobEvent
from portal.jobs.states import FailureClass, JobState


@dataclass(frozen=True)
class Explanation:
    """What happened, and what the reader can do now."""

    happened: Promise
    next_step: Promise


FAILURES: dict[str, Explanation] = {
    FailureClass.NO_CAPACITY: Explanation(
        _("The provider had no free GPU for this job."),
        _("Copy the job and choose another plan, or try again later. Nothing was charged for waiting."),
    ),
    FailureClass.INTERRUPTED: Explanation(
        _("The provider ended the job before it was done. The time it ran until then is charged."),
        _("Run it again from a copy. Files are saved when a job ends or is stopped; of this one none may be left."),
    ),
    FailureClass.MACHINE: Explanation(
        _("The provider's machine failed while the job ran."),
        _("Copy the job and run it again, on the same plan or another."),
    ),
    FailureClass.IMAGE: Explanation(
        _("The container image could not be fetched or started."),
        _(
            "Check the image's name and tag, that it has sh and python3, and that it is public or your organization"
            " keeps a login for its registry."
        ),
    ),
    FailureClass.PROGRAM: Explanation(
        _("Your program ended with an error."),
        _("Read the last lines of the log, correct the script, then copy the job and run it again."),
    ),
    FailureClass.OUT_OF_MEMORY: Explanation(
        _("The program needed more memory than the plan has."),
        _("Make batches or the model smaller, or choose a plan with more memory."),
    ),
    FailureClass.TIME_LIMIT: Explanation(
        _("The job reached its time limit and was stopped."),
        _("Results written until then are kept. Copy the job with a longer limit, or go on from a checkpoint."),
    ),
    FailureClass.DATA_MISSING: Explanation(
        _("An input file could not be read, or its checksum differed."),
        _("Check the files under Datasets, upload them again if needed, then copy the job."),
    ),
    FailureClass.ACCESS_REFUSED: Explanation(
        _("The provider did not accept the portal's credentials or the request."),
        _("You need not change anything. Our staff look at it; until then choose another provider."),
    ),
    FailureClass.OVER_BUDGET: Explanation(
        _("The job was stopped because its cost cap or a budget was reached."),
        _(
            "Results written until then are kept. Copy the job with a higher cap, or once the budget has money left, or"
            " go on from a checkpoint."
        ),
    ),
    FailureClass.PORTAL: Explanation(
        _("The portal made a mistake with this job. It was not your program."),
        _("Copy the job and run it again. If it happens twice, tell our support the job's code."),
    ),
}
LOST = Explanation(
    _(
        "The provider has not known this job for a day, and nobody can tell how it ended. The time until it was last"
        " seen is charged."
    ),
    _("Copy the job and run it again. If you need its log or results, tell our support the job's code."),
)
# By JobEvent.reason. What is not here is a provider's own words and shown as they are.
EVENTS: dict[str, Promise] = {
    "submitted": _("Job created; the amount up to the cap is set aside"),
    "waits": _("Waiting to be handed over"),
    "with_login": _("The image is fetched with the login that the organization keeps for its registry"),
    "accepted": _("The provider accepted the job"),
    "adopted": _("Found at the provider and taken up again"),
    "answer_lost": _("The provider's answer did not arrive; being checked"),
    "worker_lost": _("A hand-over was interrupted on our side; being checked"),
    "nowhere_else": _("None of the other plans allowed takes it now, or only for more than is set aside"),
    "not_again_money": _("Does not start again: what is left of the cap does not pay for the least that is charged"),
    "not_again_place": _("Does not start again: the plan or the project takes no jobs any more"),
    "tried_again": _("Interrupted by the provider; started again, as allowed"),
    "sent_again": _("The provider certainly did not have it: handed over again"),
    "ended_again": _("The provider showed it running after its end; it is ended there and not charged to you"),
    "extra_cancelled": _("A second copy at the provider was cancelled; it is not charged to you"),
    "rejected": _("The provider refused the job"),
    "no_longer_allowed": _("Not handed over: the project was closed or the person may no longer create jobs"),
    "cannot_prepare": _("Not handed over: the portal could not prepare it"),
    "stop_requested": _("Stop requested"),
    "stop_sent": _("Asked the provider to stop it"),
    "stopped_before_sending": _("Stopped before it was handed over; nothing is charged"),
    "stopped": _("The provider confirmed the end"),
    "stopped_at_provider": _("Ended on the provider's side"),
    "queued": _("Waiting at the provider"),
    "starting": _("Being prepared at the provider"),
    "running": _("Running; charging has started"),
    "ended": _("Ended at the provider; results are being saved"),
    "succeeded": _("Completed"),
    "program_error": _("The program ended with an error"),
    "time_limit": _("The time limit was reached"),
    "over_budget": _("The cost cap or a budget was reached"),
    "budget_stopped": _("So much of a budget is spent that it stops all jobs"),
    "extension_confirmed": _("The provider has moved the time limit"),
    "extension_refused": _("The provider did not move the time limit; what was set aside for it is free again"),
    "out_of_memory": _("The program needed more memory than there was"),
    "interrupted": _("Interrupted by the provider"),
    "input_missing": _("An input file could not be read, or its checksum differed"),
    "image_not_fetched": _("The provider could not fetch the container image"),
    "image_lacks_tools": _("The container image lacks a tool that the portal needs"),
    "not_started": _("The program could not be started"),
    "output_not_saved": _("The results could not be saved"),
    "not_listed": _("The provider does not show this job at the moment; we keep asking"),
    "listed_again": _("The provider shows this job again"),
    "lost": _("The provider no longer knows this job"),
    "over_time": _("The provider did not end it at its time limit; it is being stopped"),
    "results_late": _("The log or results could not be fetched yet; we keep trying"),
    "results_lost": _("The log or results could not be fetched from the provider, or not all of them"),
    "log_damaged": _("Read back from the storage, the log was not what had been sent there: it cannot be downloaded"),
    "results_cut": _("More results than one job may leave (10,000 files, 20 GB); the rest was not saved"),
    "results_skipped": _("Links and files with unusable names were not saved"),
}


def event_sentence(event: JobEvent) -> str | Promise:
    """What happened, for people. Provider's words stay as they are: the template escapes them."""
    if not event.reason and event.after:
        return JobState(event.after).label
    if event.reason == "elsewhere":
        return _elsewhere(event.detail)
    if event.reason == "submitted" and event.detail:
        return _placed(event.detail)
    if event.reason == "extended":
        return _extended(event.detail)
    if event.reason == "ends_soon":
        return _ends_soon(event.detail)
    if event.reason == "results_damaged":
        return _damaged(event.detail)
    return EVENTS.get(event.reason, event.reason)


def _placed(told: dict[str, Any]) -> str:
    sentence = gettext("Job created and placed at %(plan)s, the first of %(n)s plans that fit, for at most %(yen)s;"
                       " the amount up to the cap is set aside")  # fmt: skip
    return sentence % {"plan": told[f"to_{_language()}"], "n": told["of"], "yen": yen(told["at_most_yen"])}


def _language() -> str:
    return "en" if (get_language() or "ja").startswith("en") else "ja"


def _elsewhere(told: dict[str, Any]) -> str:
    language = _language()
    if told["why"] == FailureClass.NO_CAPACITY:
        sentence = gettext("%(before)s had no free GPU: given to %(after)s, as allowed, for at most %(yen)s.")
    elif told["why"] == "chosen":
        sentence = gettext("Moved from %(before)s to %(after)s, as somebody chose, for at most %(yen)s.")
    else:
        sentence = gettext("%(before)s could not take the job: given to %(after)s, as allowed, for at most %(yen)s.")
    names = {"before": told[f"from_{language}"], "after": told[f"to_{language}"]}
    said = sentence % {**names, "yen": yen(told["at_most_yen"])}
    if "of" in told:  # placed by the portal
        said += gettext(" It was the first of %(n)s plans that still fit.") % {"n": told["of"]}
    return said


def _extended(told: dict[str, Any]) -> str:
    sentence = gettext("%(time)s more, until %(at)s at the latest; %(yen)s more is set aside")
    at = instant_short(datetime.fromisoformat(told["ends_at"]))
    return sentence % {"time": duration(told["seconds"]), "at": at, "yen": yen(told["yen"])}


def _damaged(told: dict[str, Any]) -> str:
    sentence = ngettext(
        "Read back from the storage, %(n)s file was not what had been sent there, and was removed: %(paths)s",
        "Read back from the storage, %(n)s files were not what had been sent there, and were removed: %(paths)s",
        told["count"],
    )
    paths = pgettext("between items of a list", ", ").join(told["paths"])
    return sentence % {"n": told["count"], "paths": paths + (" …" if told["count"] > len(told["paths"]) else "")}


def _ends_soon(told: dict[str, Any]) -> str:
    if told["limit"] == "cost_cap":
        sentence = gettext("%(minutes)s minutes before its end: at %(at)s the cost cap is reached, and it is stopped")
    else:
        sentence = gettext("%(minutes)s minutes before its end: at %(at)s the time limit is reached, and it is stopped")
    return sentence % {"minutes": told["minutes"], "at": instant_short(datetime.fromisoformat(told["ends_at"]))}
