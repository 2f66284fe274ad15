"""Two to five jobs side by side: what they were told to do, how they ended, what they cost and left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from portal.core.templatetags import formats
from portal.core.templatetags.formats import duration, gpu_time, instant, yen
from portal.jobs.models import Artifact, Job, JobInput
from portal.jobs.views.finding import user_of
from portal.jobs.views.timeline import ran_s, state_shown, used_now

LEAST, MOST = 2, 5
PATHS_SHOWN = 200
NONE = "–"


@dataclass(frozen=True)
class Line:
    label: str
    cells: list[str]
    is_code: bool = False

    @property
    def differs(self) -> bool:
        return len(set(self.cells)) > 1


@dataclass(frozen=True)
class Group:
    label: str
    lines: list[Line]


@login_required
@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    codes = list(dict.fromkeys(code.replace("\0", "")[:24] for code in request.GET.getlist("job")))
    jobs = Job.objects.visible_to(user_of(request)).select_related(
        "project", "submitted_by", "price", "offering__provider", "offering__site"
    )
    found = {job.code: job for job in jobs.filter(code__in=codes[: MOST + 1])}
    if len(found) < len(codes[: MOST + 1]):
        raise Http404
    chosen = [found[code] for code in codes if code in found]
    context = {"jobs": chosen, "least": LEAST, "most": MOST, "is_few": len(codes) < LEAST, "is_many": len(codes) > MOST}
    if context["is_few"] or context["is_many"]:
        return render(request, "jobs/compare.html", context)
    artifacts, left_out = _artifacts(chosen)
    groups = [_spec(chosen), _course(chosen)]
    more = {"groups": groups, "artifacts": artifacts, "left_out": left_out}
    return render(request, "jobs/compare.html", {**context, **more, "columns": len(chosen) + 1})


def _spec(jobs: Sequence[Job]) -> Group:
    read = JobInput.objects.filter(job__in=jobs).values_list("job").annotate(Count("pk"), Sum("size_bytes"))
    files = {job: (count, size) for job, count, size in read}

    def line(label: str, cell: Callable[[Job], object], *, is_code: bool = False) -> Line:
        return Line(label, [str(cell(job) or NONE) for job in jobs], is_code)

    return Group(
        _("What it was told to do"),
        [
            line(_("Project"), lambda job: job.project.name),
            line(_("Person"), lambda job: job.submitted_by),
            line(_("Script"), lambda job: f"{job.script_name} {_digest(job.script)}" if job.script else ""),
            line(_("Command"), lambda job: job.command, is_code=True),
            line(_("Container image"), lambda job: job.image, is_code=True),
            line(
                _("Environment variables"),
                lambda job: "\n".join(f"{name}={value}" for name, value in sorted(job.environment.items())),
                is_code=True,
            ),
            line(_("Secrets"), lambda job: ", ".join(job.secret_names)),
            line(_("Input data"), lambda job: _inputs(job, *files.get(job.pk, (0, 0)))),
            line(_("Provider"), lambda job: job.offering.provider.name),
            line(_("Plan"), lambda job: job.offering.name),
            line(_("GPUs"), lambda job: job.gpus),
            line(_("Time limit"), lambda job: duration(job.time_limit_s)),
            line(_("Cost cap"), lambda job: yen(job.cost_cap)),
            line(_("New beginnings after an interruption"), lambda job: job.retries),
        ],
    )


def _course(jobs: Sequence[Job]) -> Group:
    now = timezone.now()

    def line(label: str, cell: Callable[[Job], object]) -> Line:
        return Line(label, [str(cell(job)) for job in jobs])

    def gpu_s(job: Job) -> int:
        return max(job.gpu_seconds, 0 if job.is_final else (ran_s(job, now=now) or 0) * job.gpus)

    return Group(
        _("How it went and what it cost"),
        [
            line(_("State"), lambda job: state_shown(job).label),
            line(_("Why it failed"), lambda job: job.get_failure_display() or NONE),
            line(_("Exit code"), lambda job: NONE if job.exit_code is None else job.exit_code),
            line(_("Created"), lambda job: instant(job.submitted_at)),
            line(_("Waited"), lambda job: duration(_waited_s(job)) if job.started_at else NONE),
            line(_("Run time"), lambda job: duration(ran_s(job, now=now))),
            line(_("GPU time"), lambda job: gpu_time(gpu_s(job))),
            line(_("Cost (tax incl.)"), lambda job: yen(used_now(job, now=now))),
        ],
    )


def _inputs(job: Job, count: int, size_bytes: int) -> str:
    """The versions of datasets by name, then how much is read in all."""
    versions = [_("%(name)s, version %(number)s") % one for one in job.datasets if one["dataset"]]
    total = ngettext("%(n)s file", "%(n)s files", count) % {"n": f"{count:,}"}
    return "\n".join([*versions, f"{total}, {formats.bytes(size_bytes)}"]) if count else ""


def _waited_s(job: Job) -> int:
    return max(0, int((job.started_at - job.submitted_at).total_seconds())) if job.started_at else 0


def _digest(text: str) -> str:
    """Enough of it to tell two texts apart by eye."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Path:
    """A file by its path in each of the jobs: its size, or "" where that job left none. `verdict`: equal, different, or
    only in some."""

    path: str
    sizes: list[str]
    verdict: str
    is_equal: bool


def _artifacts(jobs: Sequence[Job]) -> tuple[list[Path], int]:
    """The first paths by name, and how many more there are. Two queries."""
    own = Artifact.objects.filter(job__in=jobs)
    counted = own.values("path").annotate(jobs=Count("job")).order_by("path")
    paths = [row["path"] for row in counted[: PATHS_SHOWN + 1]]
    of_path: dict[str, dict[int, Artifact]] = {path: {} for path in paths[:PATHS_SHOWN]}
    for artifact in own.filter(path__in=list(of_path)):
        of_path[artifact.path][artifact.job_id] = artifact
    left_out = own.values("path").distinct().count() - PATHS_SHOWN if len(paths) > PATHS_SHOWN else 0
    return [_path(path, found, jobs) for path, found in of_path.items()], left_out


def _path(path: str, found: dict[int, Artifact], jobs: Sequence[Job]) -> Path:
    sizes = [formats.bytes(found[job.pk].size_bytes) if job.pk in found else "" for job in jobs]
    is_equal = len({artifact.sha256 for artifact in found.values()}) == 1
    if len(found) < len(jobs):
        told = _("Only in some, there equal") if is_equal and len(found) > 1 else _("Only in one")
        verdict = told if is_equal else _("Only in some, there different")
    else:
        verdict = _("Equal") if is_equal else _("Different")
    return Path(path, sizes, verdict, is_equal and len(found) == len(jobs))
