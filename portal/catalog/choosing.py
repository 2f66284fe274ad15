"""Guided choice: five answers to three plans, the cheapest, the fastest and the safest, and why not the others.

Pure: the same answers and offers give the same choice. Memory and work are reckoned by RULES, which the page shows with
their sources; they are made to rule plans out and to put them in an order, not to promise a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from math import ceil

from django.db.models import TextChoices
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from portal.catalog.models import LONGEST_RUN_S, Architecture, OfferingKind
from portal.catalog.offers import Offer
from portal.catalog.pricing import cost_of_job, cost_of_lease
from portal.core.templatetags.formats import duration, yen

GB = 10**9
SPARE = Decimal("1.2")  # of the memory needed: what makes a plan safe rather than just enough

# Dense 16-bit TFLOPS of one GPU: NVIDIA's data sheets of each (BF16; FP16 for V100), without sparsity.
TFLOPS = {"V100": 125, "A4000": 77, "A100": 312, "H100": 989, "H200": 989, "B200": 2250, "GB200": 2500}


class Purpose(TextChoices):
    TRAIN = "train", gettext_lazy("Train a model from the beginning")
    FINE_TUNE = "finetune", gettext_lazy("Fine-tune all weights")
    LORA = "lora", gettext_lazy("Fine-tune with LoRA")
    INFER = "infer", gettext_lazy("Inference over many texts")


@dataclass(frozen=True)
class Rule:
    """What one parameter of a model needs for a purpose. `tokens`: as many as are worked through, None: 20 for each
    parameter. `efficiency`: the part of a GPU's TFLOPS that is reached."""

    bytes_per_parameter: Decimal
    memory_words: str | Promise
    operations: int  # for each parameter and token
    tokens: int | None
    work_words: str | Promise
    efficiency: Decimal


RULES = {
    Purpose.TRAIN: Rule(
        Decimal(20),
        gettext_lazy(
            "16 bytes for weights, gradients and Adam's states in mixed precision (Rajbhandari et al., ZeRO, 2020),"
            " and a quarter more for activations (rule of thumb)"
        ),
        6,
        None,
        gettext_lazy(
            "6 operations for each parameter and token (Kaplan et al., 2020), 20 tokens for each parameter (Hoffmann et"
            " al., 2022), at 0.35 of the GPU's 16-bit performance (rule of thumb)"
        ),
        Decimal("0.35"),
    ),
    Purpose.FINE_TUNE: Rule(
        Decimal(20),
        gettext_lazy(
            "16 bytes for weights, gradients and Adam's states in mixed precision (Rajbhandari et al., ZeRO, 2020),"
            " and a quarter more for activations (rule of thumb)"
        ),
        6,
        10**8,
        gettext_lazy(
            "6 operations for each parameter and token (Kaplan et al., 2020), 100 million tokens, at 0.35 of the GPU's"
            " 16-bit performance (rules of thumb)"
        ),
        Decimal("0.35"),
    ),
    Purpose.LORA: Rule(
        Decimal(3),
        gettext_lazy("2 bytes for the 16-bit weights, and half as much for adapters and activations (rule of thumb)"),
        4,
        10**8,
        gettext_lazy(
            "4 operations for each parameter and token, since most weights get no gradient, 100 million tokens, at 0.35"
            " of the GPU's 16-bit performance (rules of thumb)"
        ),
        Decimal("0.35"),
    ),
    Purpose.INFER: Rule(
        Decimal("2.4"),
        gettext_lazy("2 bytes for the 16-bit weights, and a fifth more (EleutherAI, Transformer Math 101, 2023)"),
        2,
        10**8,
        gettext_lazy(
            "2 operations for each parameter and token (Kaplan et al., 2020), 100 million tokens, at 0.1 of the GPU's"
            " 16-bit performance (rules of thumb)"
        ),
        Decimal("0.10"),
    ),
}
# Parameters, in millions.
SIZES = (100, 1_000, 3_000, 8_000, 14_000, 32_000, 70_000, 120_000, 405_000)


@dataclass(frozen=True)
class Answers:
    """`budget`: yen with tax, None: no limit. `deadline_h`: hours, None: none. `data`: slug of the provider with the
    data, or ""."""

    purpose: Purpose
    millions: int
    budget: int | None = None
    deadline_h: int | None = None
    data: str = ""

    @property
    def rule(self) -> Rule:
        return RULES[self.purpose]

    @property
    def memory_gb(self) -> Decimal:
        return self.rule.bytes_per_parameter * self.millions * 10**6 / GB

    @property
    def operations(self) -> Decimal:
        parameters = Decimal(self.millions) * 10**6
        tokens = 20 * parameters if self.rule.tokens is None else Decimal(self.rule.tokens)
        return self.rule.operations * parameters * tokens


class Way(StrEnum):
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    SAFEST = "safest"


@dataclass(frozen=True)
class Candidate:
    """A plan with so many GPUs. `cost`: yen with tax for the whole of it; None: nobody has published a price."""

    offer: Offer
    gpus: int
    seconds: int
    cost: Decimal | None


@dataclass(frozen=True)
class Pick:
    way: Way
    candidate: Candidate
    why: list[str]


@dataclass(frozen=True)
class Choice:
    """`others`: the plans that are no answer, each with why. `hindrances`: where no plan is, which answer is in the way
    and the nearest that works."""

    picks: list[Pick]
    others: list[tuple[Offer, str]]
    hindrances: list[str]


def choose(offers: Sequence[Offer], answers: Answers) -> Choice:
    """`offers` in the catalog's order, which decides between equals."""
    found: dict[str, list[Candidate]] = {}
    refusals: dict[str, str] = {}
    for offer in offers:
        able, why = _candidates(offer, answers)
        kept = [one for one in able if not _over(one, answers)]
        found[offer.offering.slug] = kept
        if not kept:
            refusals[offer.offering.slug] = why or _over(_nearest(able, answers), answers)
    fitting = [one for some in found.values() for one in some]
    picks = _picks(fitting, answers)
    chosen = {pick.candidate.offer.offering.slug for pick in picks}
    others = [
        (offer, refusals.get(offer.offering.slug) or _no_pick_because(found[offer.offering.slug], picks, answers))
        for offer in offers
        if offer.offering.slug not in chosen
    ]
    return Choice(picks, others, [] if fitting else _hindrances(offers, answers))


def _candidates(offer: Offer, answers: Answers) -> tuple[list[Candidate], str]:
    """Each number of GPUs that has the memory, whatever it costs and however long it takes; else why there is none."""
    offering = offer.offering
    peak = TFLOPS.get(offering.gpu_model)
    if not offering.gpu_memory_gb or peak is None:
        return [], _("Its GPU model or memory is not stated, so nothing can be reckoned.")
    needed = ceil(answers.memory_gb / offering.gpu_memory_gb)
    if needed > offering.gpus_max:
        return [], ngettext(
            "%(need)s GB of GPU memory are needed; it has at most %(have)s GB with %(n)d GPU.",
            "%(need)s GB of GPU memory are needed; it has at most %(have)s GB with %(n)d GPUs.",
            offering.gpus_max,
        ) % {
            "need": _gb(answers.memory_gb),
            "have": f"{offering.gpu_memory_gb * offering.gpus_max:,}",
            "n": offering.gpus_max,
        }
    # Beyond one node the time falls less than the GPUs grow: only as many as the memory needs.
    most = min(offering.gpus_max, max(offering.gpus_per_node, needed, offering.gpus_min) + offering.gpus_step - 1)
    counts = [n for n in range(offering.gpus_min, most + 1, offering.gpus_step) if n >= needed]
    made = []
    for gpus in counts:
        seconds = max(60, ceil(answers.operations / (answers.rule.efficiency * peak * 10**12 * gpus)))
        made.append(Candidate(offer, gpus, seconds, _cost(offer, gpus, seconds)))
    longest = min(offering.time_limit_max_s or LONGEST_RUN_S, LONGEST_RUN_S)
    if offering.kind == OfferingKind.JOB:
        short = [one for one in made if one.seconds <= longest]
        if not short:
            return [], _("It would take about %(time)s; a job there ends after %(most)s.") % {
                "time": duration(made[-1].seconds),
                "most": duration(longest),
            }
        made = short
    return made, ""


def _cost(offer: Offer, gpus: int, seconds: int) -> Decimal | None:
    if not offer.prices:
        return None
    if offer.offering.kind == OfferingKind.JOB:
        return cost_of_job(offer.prices[0], gpus=gpus, seconds=seconds)
    best = offer.offering.best_of_units
    return cost_of_lease(offer.prices, gpus=gpus, hours=-(-seconds // 3600), best_of_units=best)


def _over(one: Candidate, answers: Answers) -> str:
    """What of the answers it breaks, in a sentence; "" where it keeps them."""
    if answers.deadline_h is not None and one.seconds > answers.deadline_h * 3600:
        return _("It would take about %(time)s, longer than %(most)s.") % {
            "time": duration(one.seconds),
            "most": duration(answers.deadline_h * 3600),
        }
    if answers.budget is not None and one.cost is None:
        return _("Its price is on inquiry, so nobody can say whether the budget is enough.")
    if answers.budget is not None and one.cost is not None and one.cost > answers.budget:
        return _("It would cost about %(cost)s, more than %(most)s.") % {
            "cost": yen(one.cost),
            "most": yen(answers.budget),
        }
    return ""


def _nearest(able: Sequence[Candidate], answers: Answers) -> Candidate:
    """The one whose excess says most: if some are in time, the cheapest of them, else the quickest."""
    in_time = [one for one in able if answers.deadline_h is None or one.seconds <= answers.deadline_h * 3600]
    return min(in_time, key=_by_cost) if in_time else min(able, key=lambda one: one.seconds)


def _by_cost(one: Candidate) -> tuple[bool, Decimal, int]:
    return (one.cost is None, one.cost or Decimal(0), one.seconds)


def _picks(fitting: Sequence[Candidate], answers: Answers) -> list[Pick]:
    picks = []
    if priced := [one for one in fitting if one.cost is not None]:
        cheapest = min(priced, key=lambda one: (one.cost, not _is_near(one, answers), one.seconds))
        why = [_("No plan that fits costs less: about %(cost)s in all.") % {"cost": yen(cheapest.cost)}]
        picks.append(Pick(Way.CHEAPEST, cheapest, [*why, *_notes(cheapest, answers)]))
    if fitting:
        fastest = min(fitting, key=lambda one: (_start(one), one.seconds, _by_cost(one)))
        why = [
            str(_START_WORDS[_start(fastest)]),
            _("About %(time)s of computing.") % {"time": duration(fastest.seconds)},
        ]
        picks.append(Pick(Way.FASTEST, fastest, [*why, *_notes(fastest, answers)]))
        safest = min(fitting, key=lambda one: (len(_doubts(one, answers)), _start(one), _by_cost(one)))
        doubts = _doubts(safest, answers)
        why = [_("Nothing about it is in doubt.")] if not doubts else [_("No other plan has fewer doubts:"), *doubts]
        picks.append(Pick(Way.SAFEST, safest, [*why, *_notes(safest, answers)]))
    return picks


_START_WORDS = (
    gettext_lazy("GPUs of it were free when somebody last looked."),
    gettext_lazy("Jobs can be queued; nobody says how long the line is."),
    gettext_lazy("It is full now, and jobs wait in line."),
    gettext_lazy("It begins when the provider has set it up."),
)


def _start(one: Candidate) -> int:
    """How soon it can begin: an index of _START_WORDS."""
    if not one.offer.can_submit:
        return 3
    return {"available": 0, "few": 0, "full": 2}.get(one.offer.state, 1)


def _is_near(one: Candidate, answers: Answers) -> bool:
    return bool(answers.data) and one.offer.offering.provider.slug == answers.data


def _doubts(one: Candidate, answers: Answers) -> list[str]:
    """What could still go wrong with it."""
    offering = one.offer.offering
    checks = [
        (one.offer.price is not None and one.offer.is_confirmed, _("Its price is not confirmed.")),
        (one.offer.can_submit, _("It cannot be begun from this portal.")),
        (_start(one) == 0, _("Nobody knows that it is free now.")),
        (
            offering.architecture == Architecture.AMD64 and offering.architecture_confirmed,
            _("Its processor is Arm or not confirmed, so not every image starts."),
        ),
        (
            one.gpus * (offering.gpu_memory_gb or 0) >= answers.memory_gb * SPARE,
            _("Less than a fifth of its memory is to spare."),
        ),
        (not answers.data or _is_near(one, answers), _("The data has to be copied to it.")),
    ]
    return [doubt for is_fine, doubt in checks if not is_fine]


def _notes(one: Candidate, answers: Answers) -> list[str]:
    if _is_near(one, answers):
        return [_("The data is there already.")]
    if answers.data:
        return [_("The data has to be copied first; that is in neither time nor cost.")]
    return []


def _no_pick_because(own: Sequence[Candidate], picks: Sequence[Pick], answers: Answers) -> str:
    """Of a plan that fits: what the answers have before it."""
    best = min(own, key=_by_cost)
    time = duration(best.seconds)
    of = {pick.way: pick.candidate for pick in picks}
    doubts = len(_doubts(best, answers))
    safest = len(_doubts(of[Way.SAFEST], answers))
    if best.cost is None or Way.CHEAPEST not in of:
        told = _("It fits, but its price is on inquiry; about %(time)s.") % {"time": time}
    else:
        cheapest = of[Way.CHEAPEST].cost or Decimal(0)
        told = _("It fits, for %(more)s more than the cheapest; about %(time)s.") % {
            "more": yen(best.cost - cheapest),
            "time": time,
        }
    more = doubts - safest
    return (
        told
        + " "
        + (
            ngettext("%(n)d doubt more than the safest.", "%(n)d doubts more than the safest.", more) % {"n": more}
            if more > 0
            else _("As few doubts as the safest.")
        )
    )


def _hindrances(offers: Sequence[Offer], answers: Answers) -> list[str]:
    """Each answer that alone stands in the way, with the nearest that works; else the two that do together."""

    def fits(changed: Answers) -> list[Candidate]:
        return [one for o in offers for one in _candidates(o, changed)[0] if not _over(one, changed)]

    told = []
    smaller = [size for size in SIZES if size < answers.millions and fits(replace(answers, millions=size))]
    any_price = [one for one in fits(replace(answers, budget=None)) if one.cost is not None]
    any_time = fits(replace(answers, deadline_h=None))
    neither = fits(replace(answers, budget=None, deadline_h=None))
    if not neither:
        told.append(
            _("The model is too large for every plan: %(need)s GB of GPU memory are needed.")
            % {"need": _gb(answers.memory_gb)}
        )
    if answers.budget is not None and any_price:
        told.append(
            _("The budget is too small. The nearest that works is %(cost)s.")
            % {"cost": yen(ceil(min(one.cost for one in any_price if one.cost is not None)))}
        )
    if answers.deadline_h is not None and any_time:
        told.append(
            _("The deadline is too near. The nearest that works is %(time)s.")
            % {"time": duration(min(one.seconds for one in any_time))}
        )
    if neither and not told:
        told.append(_both_hinder(neither, answers))
    if smaller:
        largest = size_words(smaller[-1])
        told.append(_("With these answers the largest model that works is %(size)s.") % {"size": largest})
    return told


def _both_hinder(fitting: Sequence[Candidate], answers: Answers) -> str:
    """`fitting`: what would do without budget and deadline."""
    priced = [one for one in fitting if one.cost is not None]
    if not priced or answers.deadline_h is None:
        return _(
            "Only plans with a price on inquiry can do this at all, the fastest in %(time)s. To see them, leave the"
            " budget open and give them that time."
        ) % {"time": duration(min(one.seconds for one in fitting))}
    cheapest = min(priced, key=_by_cost)
    return _("Budget and deadline are both too small. The cheapest costs %(cost)s and takes %(time)s.") % {
        "cost": yen(ceil(cheapest.cost or Decimal(0))),
        "time": duration(cheapest.seconds),
    }


def size_words(millions: int) -> str:
    """As people name models: 100M, 8B."""
    return f"{millions // 1000}B" if millions >= 1000 else f"{millions}M"


def _gb(amount: Decimal) -> str:
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.1f}"


def models_reckoned(offers: Iterable[Offer]) -> list[tuple[str, int]]:
    """The GPU models among the offers and their TFLOPS, for the page that shows the rule."""
    named = {offer.offering.gpu_model for offer in offers}
    return [(model, tflops) for model, tflops in TFLOPS.items() if model in named]
