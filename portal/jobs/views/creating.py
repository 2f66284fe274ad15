"""The job form, its live quote and its draft."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import current_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.registries import hosts_with_login
from portal.accounts.roles import Permission
from portal.billing.holds import OverBudget, room_for
from portal.billing.models import SpendRequest, SpendState
from portal.catalog.models import PriceUnit
from portal.catalog.pricing import cost_of_job
from portal.core.htmx import respond
from portal.core.limits import limited
from portal.jobs.attaching import DATASETS_SHOWN, NO_CHOICES, Choices, Places, choices_for, places_of
from portal.jobs.cures import changed
from portal.jobs.forms import JobForm, values_of_job, values_of_starter
from portal.jobs.models import Draft, Job, SubmitKey
from portal.jobs.needs import AUTO, decide, in_order, needs_of
from portal.jobs.offers import (
    Offer,
    choice_of,
    least_sentence,
    near_among,
    no_choice_because,
    numbers_of,
    offers_now,
    plans_for,
)
from portal.jobs.parameters import TASKS_MAX, Way, tasks_of
from portal.jobs.past_runs import expected
from portal.jobs.placement.rule import Placed
from portal.jobs.places import Refused
from portal.jobs.reasons import obstacles, rows_of
from portal.jobs.request import JobRequest
from portal.jobs.starters import STARTERS, USUAL_IMAGE, Starter, starter
from portal.jobs.submission import ask_approval, submit
from portal.jobs.sweeps import submit_sweep
from portal.jobs.views.finding import user_of

POINTS_SHOWN = 5
FIELD_OF_REFUSAL = {"time_limit": "time_amount"}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@limited("submit", method="POST")
def new(request: HttpRequest) -> HttpResponse:
    projects = _projects(request)
    if isinstance(projects, HttpResponse):
        closed = _just_closed(request) if request.method == "POST" else []
        if not closed:
            return projects
        projects = closed
    offers = offers_now(projects[0].organization)
    if request.method == "POST":
        return _sent(request, projects, offers)
    project, initial, notes = _filled(request, projects, offers)
    choices = _choices(project, initial)
    form = JobForm(initial={**initial, "key": _key()}, projects=projects, offers=offers, choices=choices)
    return _page(request, form, project, notes)


@login_required
@require_safe
def quote_now(request: HttpRequest) -> HttpResponse:
    """The quote beside the form, the numbers of GPUs that the chosen plan has, and what the plans say of the data; the
    plans themselves only where their order is another than on the page."""
    projects = _projects(request)
    if isinstance(projects, HttpResponse):
        return projects
    offers = offers_now(projects[0].organization)
    project = next((p for p in projects if p.code == request.GET.get("project")), projects[0])
    values = _values_of(request.GET)
    new_cap = _follow(values, request.GET, offers, project)
    context: dict[str, Any] = {"swapping": True, "new_cap": new_cap, **_quote(values, offers, project)}
    new_files = request.GET.get("files_for", project.code) != project.code
    choices = _choices(project, {}) if new_files else NO_CHOICES
    context["form"] = JobForm(initial=values, projects=projects, offers=offers, choices=choices)
    plans = plans_for(offers, None if new_files else _places(project, values))
    near = near_among(plans)
    context |= {"plans": plans, "near": near, "new_order": near != request.GET.get("near", near)}
    context |= {"new_files": new_files, "datasets_shown": DATASETS_SHOWN}
    return respond(request, "jobs/quote.html", "jobs/_quote.html", context)


@login_required
@require_POST
def many(request: HttpRequest) -> HttpResponse:
    """What the parameters make: how many tasks, the first of them, and the quote for all. Nothing is stored."""
    projects = _projects(request)
    if isinstance(projects, HttpResponse):
        return projects
    offers = offers_now(projects[0].organization)
    project = next((p for p in projects if p.code == request.POST.get("project")), projects[0])
    values = _values_of(request.POST)
    context = {**_many(values), **_quote(values, offers, project), "in_many": True, "project": project}
    context["form"] = JobForm(initial=values, projects=projects, offers=offers, choices=NO_CHOICES)
    return respond(request, "jobs/many.html", "jobs/_many_made.html", context)


def _many(values: Mapping[str, Any]) -> dict[str, Any]:
    """For the page: the tasks that the typed parameters make, and what is wrong with them."""
    try:
        points = tasks_of(str(values.get("parameters") or ""), _way(values))
    except ValidationError as wrong:
        return {"points": [], "names": [], "many_wrong": " ".join(wrong.messages)}
    names = list(points[0]) if points else []
    shown = [(n, list(point.values())) for n, point in list(enumerate(points, start=1))[:POINTS_SHOWN]]
    return {"points": points, "names": names, "points_shown": shown}


def _way(values: Mapping[str, Any]) -> Way:
    return Way.LIST if values.get("way") == Way.LIST else Way.GRID


@login_required
@require_POST
def draft(request: HttpRequest) -> HttpResponse:
    """Keep what was typed so far, without secrets; with `discard`, forget it."""
    projects = _projects(request)
    if isinstance(projects, HttpResponse):  # nowhere to keep it
        raise Http404
    user = user_of(request)
    asked = request.POST.get("project") or projects[0].code
    project = next((p for p in projects if p.code == asked), None)
    if project is None:  # closed in the meantime: not into another project's draft
        raise Http404
    if "discard" in request.POST:
        Draft.objects.filter(user=user, project__in=projects).delete()
        return redirect("jobs:new")
    fields = {k: v for k, v in _values_of(request.POST).items() if k in JobForm.DRAFTED}
    now = timezone.now()
    Draft.objects.update_or_create(user=user, project=project, defaults={"fields": fields, "updated_at": now})
    # Asked only now: a submit of this very form that is under way forgets the draft after this, or is seen here.
    if SubmitKey.objects.filter(user=user, key=request.POST.get("key", "").replace("\0", "")).exists():
        forget_draft(user, project)
        return HttpResponse(status=204)
    return respond(request, "jobs/draft.html", "jobs/_draft.html", {"saved_at": now})


def _projects(request: HttpRequest) -> list[Project] | HttpResponse:
    """Where the person may submit, the current project first; else the page that says why they cannot."""
    current, user = current_of(request), user_of(request)
    if current.organization is None:
        return render(request, "jobs/no_project.html", {"reason": "organization"})
    access = access_of(user)
    open_to = [p for p in current.projects if access.may_in(p, Permission.SUBMIT)]
    if open_to:
        return sorted(open_to, key=lambda p: p != current.project)
    if current.projects:
        require(user, Permission.SUBMIT, current.project or current.organization)
    closed = [p for p in _closed(current.organization) if access.may_in(p, Permission.SUBMIT)]
    if not closed:
        require(user, Permission.SUBMIT, current.organization)
    can_open = access.may_in(current.organization, Permission.MANAGE_PROJECTS)
    return render(request, "jobs/no_project.html", {"reason": "closed" if closed else "none", "can_open": can_open})


def _just_closed(request: HttpRequest) -> list[Project]:
    """The project that a form was filled in for, closed since: the form comes back with what was typed in it."""
    access, organization = access_of(user_of(request)), current_of(request).organization
    closed = _closed(organization) if organization else []
    mine = [p for p in closed if access.may_in(p, Permission.SUBMIT)]
    return [p for p in mine if p.code == request.POST.get("project")] or mine[:1]


def _closed(organization: Organization) -> list[Project]:
    return list(Project.objects.filter(organization=organization).order_by("-pk")[:50])


def _sent(request: HttpRequest, projects: list[Project], offers: list[Offer]) -> HttpResponse:
    user = user_of(request)
    project = next((p for p in projects if p.code == request.POST.get("project")), projects[0])
    if "refresh" in request.POST:  # without script: a new quote for what is chosen, nothing is checked yet
        initial = {**_values_of(request.POST), "key": request.POST.get("key") or _key()}
        _follow(initial, request.POST, offers, project)
        form = JobForm(initial=initial, projects=projects, offers=offers, choices=_choices(project, initial))
        return _page(request, form, project, {})
    data = request.POST.copy()
    if len(projects) == 1 and not data.get("project"):
        data["project"] = projects[0].code
    # Listed only when the form is shown again; most are accepted.
    choices: Any = SimpleLazyObject(lambda: _choices(project, _values_of(data)))
    form = JobForm(data, projects=projects, offers=offers, choices=choices)
    notes: dict[str, Any] = {"may_ask": "ask" in request.POST}
    if form.is_valid():
        chosen, wanted = form.request()
        try:
            if "ask" in request.POST and not form.cleaned_data["points"]:
                return _ask(request, form, chosen, wanted)
            if points := form.cleaned_data["points"]:
                sweep = submit_sweep(chosen, request=wanted, points=points, key=form.cleaned_data["key"], by=user)
                forget_draft(user, chosen)
                return redirect("jobs:sweep", sweep.code)
            job = submit(chosen, request=wanted, key=form.cleaned_data["key"], by=user)
        except OverBudget as problem:
            form.add_error("cost_cap", problem.message)
            notes["may_ask"] = problem.can_be_approved and not form.cleaned_data["points"]
        except Refused as problem:
            field = FIELD_OF_REFUSAL.get(problem.field, problem.field)
            form.add_error(field if field in form.fields else None, str(problem.message))
        else:
            forget_draft(user, chosen)
            return redirect("jobs:detail", job.code)
    _fit_untyped(form, offers, project)
    if "project" in form.errors and len(projects) == 1 and projects[0].is_open:
        # The field is hidden when there is but one project: the form goes on with that one, and says so.
        form.errors.pop("project")
        form.add_error(
            None,
            _(
                "The project you chose is closed or not open to you."
                " Send the form again to create the job in “%(project)s”."
            )
            % {"project": projects[0].name},
        )
        form.data["project"] = projects[0].code  # type: ignore[index]
    if "template" in form.errors:  # hidden too: the form goes back without it
        form.add_error(None, form.errors.pop("template"))
        form.data["template"] = ""  # type: ignore[index]
    if "key" in form.errors:
        # A hidden field cannot show its error; the form goes back with a fresh key.
        form.add_error(None, form.errors.pop("key"))
        form.data["key"] = _key()  # type: ignore[index]
    return _page(request, form, project, notes, status=422)


def _fit_untyped(form: JobForm, offers: list[Offer], project: Project) -> None:
    """Sent before the number of GPUs and our own cap had followed the plan (no script, or faster than the quote): they
    follow now, so that sending again is enough; only after its quote was shown."""
    if not form.errors or not set(form.errors) <= {"gpus", "cost_cap"}:
        return
    data = cast(QueryDict, form.data)
    values = _values_of(data)
    typed = values.get("gpus")
    if not _follow(values, data, offers, project) and values.get("gpus") == typed:
        return
    for name in ("gpus", "cost_cap"):
        data[name] = values[name]
    words = _(
        "GPUs are now %(gpus)s and the cost cap ¥%(cap)s, as this plan needs. Read the quote and send the form again."
    )
    form.add_error(None, words % {"gpus": values["gpus"], "cap": f"{int(values['cost_cap']):,}"})


def _ask(request: HttpRequest, form: JobForm, project: Project, wanted: JobRequest) -> HttpResponse:
    """Instead of creating the job: its form, without secrets, goes to those who may approve it."""
    kept = {name: value for name, value in _values_of(cast(QueryDict, form.data)).items() if name in JobForm.DRAFTED}
    reason = form.cleaned_data["ask_reason"]
    asked = ask_approval(project, request=wanted, form=kept, reason=reason, by=user_of(request))
    forget_draft(user_of(request), project)
    messages.success(request, _("Your request is sent. You get a mail as soon as somebody has decided."))
    return redirect("usage:request", asked.code)


def _filled(
    request: HttpRequest, projects: list[Project], offers: list[Offer]
) -> tuple[Project, dict[str, Any], dict[str, Any]]:
    """What the form begins with: a job to copy, a starter, the kept draft, or nothing. And what the page says of it."""
    wanted, project = request.GET, projects[0]
    values: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    if wanted.get("copy"):
        job = get_object_or_404(
            Job.objects.visible_to(user_of(request)).select_related("offering", "project"),
            code=wanted["copy"].replace("\0", ""),
        )
        project = next((p for p in projects if p.pk == job.project_id), project)
        values = changed(values_of_job(job), wanted)
        notes = {"copied": job}
    elif wanted.get("approved"):
        approved = get_object_or_404(
            SpendRequest.objects.filter(asked_by=user_of(request), state=SpendState.APPROVED),
            code=wanted["approved"].replace("\0", ""),
        )
        project = next((p for p in projects if p.pk == approved.project_id), project)
        values, notes = dict(approved.form), {"approved": approved}
    elif chosen := starter(wanted.get("template", "")):
        values, notes = values_of_starter(chosen), {"chosen": chosen}
    elif kept := _draft(request, projects):
        project = kept.project
        values, notes = dict(kept.fields), {"kept": kept, "chosen": starter(str(kept.fields.get("template", "")))}
    if wanted.get("offering") in {AUTO, *(o.slug for o in offers)}:
        values["offering"] = wanted["offering"]
    elif wanted.get("offering"):
        notes["unavailable"] = True
    if wanted.getlist("input"):
        values["inputs"] = [word.replace("\0", "") for word in wanted.getlist("input")]
        values["versions"] = [word.replace("\0", "") for word in wanted.getlist("version")]
    if not starter(str(values.get("template") or "")):  # of a copy or a draft, gone since
        values["template"] = ""
    values["project"] = project.code
    return project, _completed(values, offers, project), notes


def _choices(project: Project, values: Mapping[str, Any]) -> Choices:
    return choices_for(project, values.get("inputs") or (), values.get("versions") or ())


def _places(project: Project, values: Mapping[str, Any]) -> Places | None:
    return places_of(project, values.get("inputs") or (), values.get("versions") or ())


def forget_draft(user: User, project: Project) -> None:
    """One statement. A queryset's own delete() opens a transaction for what might hang on a row; nothing does here."""
    Draft.objects.filter(user=user, project=project)._raw_delete("default")


def _draft(request: HttpRequest, projects: list[Project]) -> Draft | None:
    current = current_of(request).project
    drafts = Draft.objects.filter(user=user_of(request), project__in=[current] if current in projects else projects)
    return drafts.select_related("project").order_by("-updated_at").first()


def _completed(values: dict[str, Any], offers: list[Offer], project: Project) -> dict[str, Any]:
    """Plan, image, time and cap get a beginning, so that there is a quote to read from the first moment."""
    known = {AUTO, *(o.slug for o in offers)}
    if values.get("offering") not in known and offers:
        values["offering"] = plans_for(offers, _places(project, values))[0].offer.slug
    values["image"] = values.get("image") or USUAL_IMAGE
    values.setdefault("time_amount", 1)
    values.setdefault("time_unit", "hours")
    values.setdefault("nodes", 1)
    choice = choice_of(_suggested_by(values, offers, project), offers)
    if choice:
        values["gpus"] = choice.gpus
        if choice.cost_cap is None and "cost_cap" not in values:
            values["cost_cap"] = choice.most
    return values


def _suggested_by(values: Mapping[str, Any], offers: list[Offer], project: Project) -> Mapping[str, Any]:
    """What the cap is suggested by. Where the portal chooses: the best plan and the next, whatever they cost."""
    chosen, decided = _chosen(values, offers, project, capped=False)
    return chosen if decided is None else {**chosen, "alternatives": chosen["alternatives"][:1]}


def _chosen(
    values: Mapping[str, Any], offers: list[Offer], project: Project, *, capped: bool = True
) -> tuple[Mapping[str, Any], Placed | None]:
    """The same values; where the plan is left to the portal with those that it would choose now, and its decision."""
    if values.get("offering") != AUTO:
        return values, None
    gpus, time_limit_s, cap = numbers_of(values)
    if time_limit_s is None:
        return {**values, "offering": "", "alternatives": []}, None
    decided = decide(
        project,
        needs_of(values),
        offers,
        gpus=gpus or 1,
        time_limit_s=time_limit_s,
        cap_yen=cap if capped else None,
        image=str(values.get("image") or ""),
        template=str(values.get("template") or ""),
        places=_places(project, values),
        seed=str(values.get("key") or ""),
        at=timezone.now(),
    )
    first, *others = [offer.slug for offer in in_order(decided, offers)] or [""]
    return {**values, "gpus": gpus or 1, "offering": first, "alternatives": others}, decided


def _follow(values: dict[str, Any], data: QueryDict, offers: list[Offer], project: Project) -> bool:
    """The number of GPUs becomes one that the plan has; a cap that still is our own suggestion follows the plan and the
    time. True: the cap was given anew."""
    choice = choice_of(_suggested_by(values, offers, project), offers)
    if choice is None:
        return False
    values["gpus"] = str(choice.gpus)
    if not values.get("cost_cap") or values["cost_cap"] != data.get("suggested"):
        return False
    values["cost_cap"] = str(choice.most)
    return True


def _values_of(data: QueryDict) -> dict[str, Any]:
    named = (name for name in JobForm.base_fields if name in data and name != "secrets")
    values: dict[str, Any] = {name: str(data[name]).replace("\0", "") for name in named}
    if "task_count" in data and "parameters" not in data:
        values["task_count"] = data["task_count"]
    for name in ("inputs", "versions", "alternatives"):
        values[name] = [value for value in data.getlist(name) if "\0" not in value]
    return values


def _page(
    request: HttpRequest, form: JobForm, project: Project, notes: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    form.say_registries(hosts_with_login(project.organization))
    values = {name: form[name].value() for name in JobForm.DRAFTED}
    offers = list(form.offers.values())
    chosen = starter(str(values["template"] or ""))
    plans = plans_for(offers, _places(project, values))
    context = {
        "form": form,
        "plans": plans,
        "near": near_among(plans),
        "project": project,
        "starters": [(s, _usual_cost(s, offers)) for s in STARTERS],
        "came_with": _came_with(request),
        "chosen": chosen,
        "datasets_shown": DATASETS_SHOWN,
        **_many(values),
        **_quote(values, offers, project),
        **notes,
    }
    return render(request, "jobs/new.html", context, status=status)


def _came_with(request: HttpRequest) -> str:
    """The plan and the data that the person came with, for the links to the starters: "&offering=…&input=…"."""
    kept = [(name, word) for name in ("offering", "gpus", "input", "version") for word in request.GET.getlist(name)]
    return f"&{urlencode(kept)}" if kept else ""


def _usual_cost(chosen: Starter, offers: list[Offer]) -> int | None:
    """Yen on the plan that is cheapest for so short a job."""
    costs = [_charge_for(o, o.offering.gpus_min, chosen.usual_s) for o in offers]
    return min(costs, default=None)


def _charge_for(offer: Offer, gpus: int, seconds: int) -> int:
    """Yen that a job of so many seconds is charged: whole ones, the fraction cut."""
    return int(cost_of_job(offer.price, gpus=gpus, seconds=seconds))


def _quote(values: Mapping[str, Any], offers: list[Offer], project: Project) -> dict[str, Any]:
    suggestion = choice_of(_suggested_by(values, offers, project), offers)
    values, decided = _chosen(values, offers, project)
    choice = choice_of(values, offers)
    room = room_for(project)
    common = {"room": room, "project": project, "seen_prices": ",".join(str(offer.price.pk) for offer in offers)}
    common["suggested"] = suggestion.most if suggestion else ""
    offerings = {str(offer.offering.pk): offer.offering for offer in offers}
    if decided is not None:
        common["placement"] = rows_of(decided.decision, decided.spec, offerings)
    if choice is None:
        why = no_choice_because(values, offers)
        if decided is not None:
            why = " ".join(one.sentence for one in obstacles(decided, offerings))
        return {"quote": None, "why": why, **common}
    offer = choice.offer
    reckoned = choice.quote_at(offer, cost_cap=choice.cost_cap)
    cap = reckoned.most if choice.cost_cap is None else choice.cost_cap
    there = [(other, choice.quote_at(other, cost_cap=cap)) for other in choice.others]
    hold = max([reckoned.hold, *(one.hold for _other, one in there if one.maximum <= cap)])
    chosen = starter(str(values.get("template") or ""))
    template = chosen.slug if chosen else ""
    likely = expected(project, offer.price, template=template, gpus=choice.gpus, high=hold)
    tasks = _tasks(values)
    hold *= tasks
    return {
        "choice": choice,
        "quote": reckoned,
        "expected": likely,
        # What the template says of itself, as long as nothing better is known.
        "usual": _charge_for(offer, choice.gpus, chosen.usual_s) if chosen and likely.likely is None else None,
        # Only where it is more than a moment's worth; a charge is cut to whole yen, so that may be none.
        "least": cost_of_job(offer.price, gpus=choice.gpus, seconds=1) if offer.price.minimum_s >= 60 else None,
        "a_minute": cost_of_job(offer.price, gpus=choice.gpus, seconds=60).quantize(Decimal("0.01")),
        "by_the_second": offer.price.unit == PriceUnit.SECOND,
        **common,
        "too_low": least_sentence(offer.price, reckoned.minimum)
        if choice.cost_cap is not None and choice.cost_cap < reckoned.minimum
        else "",
        "elsewhere": [(other, one.maximum, one.maximum > cap) for other, one in there],
        "hold": hold,
        "tasks": tasks,
        "hold_each": hold // tasks,
        "over": hold > room.left,
        "needs_approval": room.without_approval < hold <= room.left,
        "left_after": max(Decimal(0), Decimal(room.left - hold)),
    }


def _tasks(values: Mapping[str, Any]) -> int:
    """How many jobs the form makes: of its parameters, or as the page has counted them; 1 where it cannot be told."""
    if "parameters" in values:
        return len(_many(values)["points"]) or 1
    text = str(values.get("task_count") or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= TASKS_MAX else 1


def _key() -> str:
    return secrets.token_urlsafe(24)
