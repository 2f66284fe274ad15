"""Ready-made jobs to begin with: they need no GPU, only python3, and show what a job can do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

SCRIPTS = Path(__file__).parent / "starters"


USUAL_IMAGE = "python:3.11-slim"


@dataclass(frozen=True)
class Starter:
    """Everything the job form is filled with. `usual_s`: how long it runs, for "what will it cost"."""

    slug: str
    name: Promise
    description: Promise
    results: Promise
    script_name: str
    icon: str
    usual_s: int
    time_limit_s: int
    image: str = USUAL_IMAGE  # used only where the provider runs containers
    wants_input: bool = False

    @property
    def script(self) -> str:
        return _read(self.script_name)


@cache
def _read(name: str) -> str:
    return (SCRIPTS / name).read_text(encoding="utf-8")


STARTERS: tuple[Starter, ...] = (
    Starter(
        slug="word-statistics",
        name=_("Word statistics"),
        description=_("Counts the words and characters of your text files, Japanese or English."),
        results=_("counts.csv and summary.json, the same bytes on every provider"),
        script_name="word_statistics.py",
        icon="file",
        usual_s=5,
        time_limit_s=600,
        wants_input=True,
    ),
    Starter(
        slug="train-digits",
        name=_("Train a small model"),
        description=_(
            "Trains a neural network on 1,797 handwritten digits with scikit-learn; every epoch writes a line."
        ),
        results=_("weights.npz, metrics.csv and the learning curve curve.png"),
        script_name="train_digits.py",
        icon="gpu",
        usual_s=20,
        time_limit_s=900,
        image="jupyter/scipy-notebook:python-3.11",
    ),
    Starter(
        slug="failing",
        name=_("A job that fails"),
        description=_("Ends with a Python traceback, to see how the portal shows what went wrong."),
        results=_("partial.json, written before the error"),
        script_name="failing.py",
        icon="warn",
        usual_s=3,
        time_limit_s=300,
    ),
    Starter(
        slug="countdown",
        name=_("A long job to stop"),
        description=_("Writes a line a second for ten minutes. Stop it: it saves a checkpoint before it ends."),
        results=_("checkpoint.json, from which the next job can go on"),
        script_name="countdown.py",
        icon="clock",
        usual_s=600,
        time_limit_s=1200,
    ),
)
_BY_SLUG = {starter.slug: starter for starter in STARTERS}


def starter(slug: str) -> Starter | None:
    return _BY_SLUG.get(slug)
