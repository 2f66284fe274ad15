"""「おまかせ」: needs instead of a plan. Their fields in the job form, and what the rule of placement makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from portal.accounts.models import Project
from portal.accounts.registries import needs_login
from portal.catalog.models import Architecture
from portal.core.periods import JST
from portal.jobs.attaching import Places
from portal.jobs.fields import WholeNumber
from portal.jobs.models import Job
from portal.jobs.offers import COUNTS_SHOWN, Offer
from portal.jobs.placement.rule import Container, Held, Placed, Spec, Strategy, placed
from portal.jobs.placement.spelling import read_input
from portal.jobs.placing import plain
from portal.jobs.reasons import STRATEGY_NAMES
from portal.jobs.starters import USUAL_IMAGE, starter

AUTO = "auto"  # in place of a plan's slug
DEADLINE = "%Y-%m-%dT%H:%M"
MEMORY_MAX_GB = 10_000
NODES_MAX = 1_000
NAMES = ("gpu_model", "gpu_memory", "nodes", "architecture", "provider", "strategy", "deadline")


class NeedsForm(forms.Form):
    """The fields of the needs. What is left empty is no need; none of them is asked for where a plan is chosen."""

    gpu_model = forms.CharField(label=gettext_lazy("GPU model"), required=False, max_length=20, widget=forms.Select)
    gpu_memory = WholeNumber(
        label=gettext_lazy("Memory of each GPU, at least (GB)"),
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 8}),
        minimum=1,
        maximum=MEMORY_MAX_GB,
        missing="",
        wrong=gettext_lazy("Enter the memory as a whole number of GB from 1 to 10,000, or nothing."),
        required=False,
    )
    nodes = WholeNumber(
        label=gettext_lazy("Machines, at most"),
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 6}),
        minimum=1,
        maximum=NODES_MAX,
        missing="",
        wrong=gettext_lazy("Enter the number of machines as a whole number from 1 to 1,000."),
        required=False,
    )
    architecture = forms.ChoiceField(
        label=gettext_lazy("Architecture"),
        choices=[*Architecture.choices, ("any", pgettext_lazy("architecture", "Any"))],
        required=False,
        error_messages={"invalid_choice": gettext_lazy("Choose an architecture from the list.")},
    )
    provider = forms.CharField(label=gettext_lazy("Provider"), required=False, max_length=50, widget=forms.Select)
    strategy = forms.ChoiceField(
        label=gettext_lazy("First of all"),
        choices=[(one.value, name) for one, name in STRATEGY_NAMES.items()],
        required=False,
        error_messages={"invalid_choice": gettext_lazy("Choose what comes first from the list.")},
    )
    deadline = forms.DateTimeField(
        label=gettext_lazy("Has to end by (Japan time)"),
        required=False,
        input_formats=[DEADLINE],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=DEADLINE),
        error_messages={"invalid": gettext_lazy("Enter day and time as in 2026-12-24T18:00, or nothing.")},
    )

    @property
    def needs(self) -> list[forms.BoundField]:
        return [self[name] for name in NAMES]

    def offer_choices(self, offers: Sequence[Offer]) -> None:
        models = sorted({offer.offering.gpu_model for offer in offers} - {""})
        providers = {offer.offering.provider.slug: offer.offering.provider for offer in offers}
        in_order = sorted(providers.values(), key=lambda one: one.position)
        any_model, any_provider = _("Any model"), _("Any provider")
        self.fields["gpu_model"].widget.choices = [("", any_model), *((m, m) for m in models)]  # type: ignore[attr-defined]
        self.fields["provider"].widget.choices = [  # type: ignore[attr-defined]
            ("", any_provider),
            *((one.slug, one.name) for one in in_order),
        ]


def counts_of(offers: Sequence[Offer]) -> list[int]:
    """Numbers of GPUs that any plan has, the smallest first."""
    return sorted({count for offer in offers for count in offer.counts})[:COUNTS_SHOWN]


def needs_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a form that may be half filled: what cannot be read is no need."""
    found = {}
    for name in NAMES:
        try:
            found[name] = NeedsForm.base_fields[name].clean(values.get(name))
        except ValidationError:
            found[name] = None
    return found


def decide(
    project: Project,
    needs: Mapping[str, Any],
    offers: Sequence[Offer],
    *,
    gpus: int,
    time_limit_s: int,
    cap_yen: int | None,
    image: str,
    template: str,
    places: Places | None,
    seed: str,
    at: datetime,
) -> Placed:
    """`needs` as `needs_of` or a valid form has them."""
    chosen = starter(template)
    usual = chosen.image if chosen else ""
    image = image or usual
    own = image not in ("", usual, USUAL_IMAGE)
    architecture = needs["architecture"] or Architecture.AMD64
    held = [Held(one.provider, one.size_bytes) for one in places.held if not one.failing] if places else []
    spec = Spec(
        gpus=gpus,
        time_limit_s=time_limit_s,
        seed=seed,
        cap_yen=cap_yen,
        gpu_model=needs["gpu_model"] or "",
        memory_gb=needs["gpu_memory"] or 0,
        nodes=needs["nodes"] or 1,
        architecture="" if architecture == "any" else str(architecture),
        provider=needs["provider"] or "",
        strategy=Strategy(needs["strategy"] or Strategy.CHEAPEST),
        deadline=needs["deadline"],
        container=Container.NEEDED if own else Container.POSSIBLE if image else Container.NONE,
        needs_login=own and needs_login(project.organization, image),
        # The primary site has all that is ready.
        data_bytes=max((one.size_bytes for one in places.held), default=0) if places else 0,
        data=tuple(held),
    )
    return placed(spec, plain(offers, at=at), at=at)


def in_order(decided: Placed, offers: Sequence[Offer]) -> list[Offer]:
    """The candidates, the best first."""
    by_key = {str(offer.offering.pk): offer for offer in offers}
    return [by_key[one.key] for one in decided.decision.candidates]


def values_of_needs(job: Job) -> dict[str, Any]:
    """What a copy of a job that the portal has placed begins with."""
    stored = job.placements.order_by("number").first()
    if stored is None:
        return {}
    spec, *_rest = read_input(stored.input)
    return {
        "offering": AUTO,
        "gpu_model": spec.gpu_model,
        "gpu_memory": spec.memory_gb or "",
        "nodes": spec.nodes,
        "architecture": spec.architecture or "any",
        "provider": spec.provider,
        "strategy": spec.strategy.value,
        "deadline": spec.deadline.astimezone(JST).strftime(DEADLINE) if spec.deadline else "",
    }
