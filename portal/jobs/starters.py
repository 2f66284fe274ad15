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


SCIENCE_IMAGE = "jupyter/scipy-notebook:python-3.11"  # numpy, scikit-learn and matplotlib are in it

STARTERS: tuple[Starter, ...] = (
    Starter(
        slug="first-script",
        name=_("A first Python script"),
        description=_("Says what the machine has: Python, processors, memory and GPUs. Replace it by your own."),
        results=_("machine.json"),
        script_name="first_script.py",
        icon="term",
        usual_s=3,
        time_limit_s=300,
    ),
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
        image=SCIENCE_IMAGE,
    ),
    Starter(
        slug="evaluate-digits",
        name=_("Evaluate a model"),
        description=_(
            "Measures the trained weights of another job, digit by digit; without them the simplest model there is."
        ),
        results=_("report.csv, metrics.json and the picture confusion.png"),
        script_name="evaluate_digits.py",
        icon="usage",
        usual_s=10,
        time_limit_s=600,
        image=SCIENCE_IMAGE,
    ),
    Starter(
        slug="sweep-digits",
        name=_("Try many settings"),
        description=_("Trains a small model with nine combinations of settings, one after another in one job."),
        results=_("results.csv, the best first, and best.json"),
        script_name="sweep_digits.py",
        icon="filter",
        usual_s=40,
        time_limit_s=900,
        image=SCIENCE_IMAGE,
    ),
    Starter(
        slug="prepare-data",
        name=_("Prepare data"),
        description=_("Cleans the CSV files of a dataset and splits them into data to train and to test with."),
        results=_("train.csv, test.csv and report.json, the same bytes on every provider"),
        script_name="prepare_data.py",
        icon="data",
        usual_s=10,
        time_limit_s=900,
        wants_input=True,
    ),
    Starter(
        slug="convert",
        name=_("Convert files"),
        description=_("Turns CSV and TSV files into JSON Lines and reads them back to see that nothing was lost."),
        results=_("a .jsonl for each file, and manifest.json with their checksums"),
        script_name="convert.py",
        icon="retry",
        usual_s=10,
        time_limit_s=900,
        wants_input=True,
    ),
    Starter(
        slug="benchmark",
        name=_("Measure a machine"),
        description=_("How fast its processors, memory and disk are. It does not measure GPUs."),
        results=_("benchmark.json and benchmark.csv"),
        script_name="benchmark.py",
        icon="clock",
        usual_s=20,
        time_limit_s=600,
        image=SCIENCE_IMAGE,
    ),
    Starter(
        slug="ranks",
        name=_("Do all nodes answer?"),
        description=_("Each process says its rank, and rank 0 hears from all. On one node it is rank 0 of 1."),
        results=_("ranks.json"),
        script_name="ranks.py",
        icon="users",
        usual_s=3,
        time_limit_s=300,
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
