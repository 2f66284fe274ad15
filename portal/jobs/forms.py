"""The job form: is what was typed well formed? What is allowed, free and affordable is for submission.py to say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from portal.accounts.models import Project
from portal.catalog.models import Offering
from portal.core.plain_text import has_hidden_letters
from portal.jobs.attaching import NO_CHOICES, Choices, places_with, resolve, words_of
from portal.jobs.estimates import quote
from portal.jobs.fields import PlainText, WholeNumber
from portal.jobs.models import Artifact, Job
from portal.jobs.needs import AUTO, NAMES, NeedsForm, counts_of, decide, in_order, values_of_needs
from portal.jobs.offers import UNITS, Offer, counts_sentence, least_sentence, time_sentence, time_values, times_sentence
from portal.jobs.parameters import RESERVED, TEXT_MAX_BYTES, VARIABLE, Way, tasks_of
from portal.jobs.places import first_place
from portal.jobs.reasons import obstacles
from portal.jobs.request import (
    COMMAND_MAX,
    COST_CAP_MAX,
    COST_CAP_MIN,
    ENVIRONMENT_MAX,
    ENVIRONMENT_MAX_BYTES,
    IMAGE_MAX,
    NAME_MAX,
    RETRIES_MAX,
    SCRIPT_MAX_BYTES,
    JobRequest,
)
from portal.jobs.starters import USUAL_IMAGE, Starter, starter
from portal.providers.bootstrap import RESERVED as RESERVED_NAMES

_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_IDS = re.compile(r"[0-9]{1,18}(?:,[0-9]{1,18}){0,999}")
_SCRIPT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
# [registry[:port]/]path[:tag][@sha256:digest], as the OCI distribution reference has it: nothing a shell would see.
_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


class JobForm(NeedsForm):
    """`offers` and `projects` are the only ones that can be chosen; `choices` are the datasets and files shown."""

    project = forms.ChoiceField(
        label=gettext_lazy("Project"),
        error_messages={
            "required": gettext_lazy("Choose a project."),
            "invalid_choice": gettext_lazy("This project is closed or not open to you. Choose another project."),
        },
    )
    name = forms.CharField(
        label=gettext_lazy("Job name"),
        help_text=gettext_lazy("A name you will find again. Up to 50 characters."),
        error_messages={"required": gettext_lazy("Enter a job name.")},
        widget=forms.TextInput(attrs={"maxlength": NAME_MAX, "autocomplete": "off"}),
    )
    script = PlainText(
        label=gettext_lazy("Script"),
        help_text=gettext_lazy(
            "Read input files from $PORTAL_DATA_DIR and write results to $PORTAL_OUTPUT_DIR. Up to 1 MiB."
        ),
        required=False,
        max_bytes=SCRIPT_MAX_BYTES,
        too_long=gettext_lazy("The script is larger than 1 MiB. Shorten it, or upload it as a data file and run that."),
        widget=forms.Textarea(attrs={"rows": 14, "class": "mono", "spellcheck": "false", "autocapitalize": "off"}),
    )
    script_name = forms.CharField(
        label=gettext_lazy("Script file name"),
        help_text=gettext_lazy("For example main.py or main.sh"),
        required=False,
        widget=forms.TextInput(attrs={"maxlength": 60, "class": "mono", "autocomplete": "off"}),
    )
    command = PlainText(
        label=gettext_lazy("Command"),
        help_text=gettext_lazy("When empty, the script is run: .py with python3, anything else with sh."),
        required=False,
        max_bytes=COMMAND_MAX,
        too_long=gettext_lazy("The command is longer than 4,000 bytes. Put it into the script."),
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono", "spellcheck": "false", "autocapitalize": "off"}),
    )
    image = forms.CharField(
        label=gettext_lazy("Container image"),
        help_text=gettext_lazy(
            "For plans that run containers, e.g. python:3.11-slim. It needs sh, and curl or python3."
        ),
        required=False,
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    inputs = forms.MultipleChoiceField(
        label=gettext_lazy("Input data"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    versions = forms.MultipleChoiceField(required=False)  # one list of versions for each dataset shown
    offering = forms.ChoiceField(
        label=gettext_lazy("GPU plan"),
        widget=forms.RadioSelect,
        error_messages={
            "required": gettext_lazy("Choose a GPU plan."),
            "invalid_choice": gettext_lazy("This plan cannot be used for jobs now. Choose another plan."),
        },
    )
    gpus = WholeNumber(
        label=gettext_lazy("Number of GPUs"),
        widget=forms.Select,
        minimum=1,
        maximum=100_000,
        missing=gettext_lazy("Choose the number of GPUs."),
        wrong=gettext_lazy("Enter the number of GPUs as a whole number from 1 to 100,000."),
    )
    time_amount = WholeNumber(
        label=gettext_lazy("Time limit"),
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 12}),
        minimum=1,
        maximum=10**9,
        missing=gettext_lazy("Enter the time limit."),
        wrong=gettext_lazy("Enter the time limit as a whole number, for a time from 1 minute to 20 days."),
    )
    time_unit = forms.ChoiceField(
        label=gettext_lazy("Unit of the time limit"),
        choices=[
            ("minutes", pgettext_lazy("time limit", "minutes")),
            ("hours", pgettext_lazy("time limit", "hours")),
            ("days", pgettext_lazy("time limit", "days")),
        ],
        error_messages={
            "required": gettext_lazy("Choose minutes, hours or days."),
            "invalid_choice": gettext_lazy("Choose minutes, hours or days."),
        },
    )
    cost_cap = WholeNumber(
        label=gettext_lazy("Cost cap (yen, tax incl.)"),
        help_text=gettext_lazy("The job is stopped before it costs more. Results written until then are kept."),
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 16}),
        minimum=COST_CAP_MIN,
        maximum=COST_CAP_MAX,
        missing=gettext_lazy("Enter a cost cap."),
        wrong=gettext_lazy("Enter the cost cap as a whole number of yen from 1 to 999,999,999."),
    )
    alternatives = forms.MultipleChoiceField(
        label=gettext_lazy("Other plans, if that one cannot take the job"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "invalid_choice": gettext_lazy("One of the other plans cannot be used for jobs now. Choose again."),
            "invalid_list": gettext_lazy("One of the other plans cannot be used for jobs now. Choose again."),
        },
    )
    retries = WholeNumber(
        label=gettext_lazy("If the provider interrupts the job"),
        widget=forms.Select,
        minimum=0,
        maximum=RETRIES_MAX,
        missing="",
        wrong=gettext_lazy("Choose how often the job starts again, from 0 to 3 times."),
        required=False,
    )
    environment = PlainText(
        label=gettext_lazy("Environment variables"),
        help_text=gettext_lazy("One NAME=value a line. Everybody in the project sees them."),
        required=False,
        max_bytes=ENVIRONMENT_MAX_BYTES,
        too_long=gettext_lazy(
            "Environment variables and secrets together may be up to 64 KiB. Pass large values as a file."
        ),
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false", "autocapitalize": "off"}),
    )
    secrets = PlainText(
        label=gettext_lazy("Secrets"),
        help_text=gettext_lazy(
            "One NAME=value a line. Stored encrypted, never shown again, erased when the job ends, not kept in drafts."
        ),
        required=False,
        max_bytes=ENVIRONMENT_MAX_BYTES,
        too_long=gettext_lazy(
            "Environment variables and secrets together may be up to 64 KiB. Pass large values as a file."
        ),
        widget=forms.Textarea(
            attrs={"rows": 2, "class": "mono", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
        ),
    )
    parameters = PlainText(
        label=gettext_lazy("Parameters"),
        required=False,
        max_bytes=TEXT_MAX_BYTES,
        too_long=gettext_lazy("The parameters are longer than 256 KiB. Take some out, or pass them as a file."),
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false", "autocapitalize": "off"}),
    )
    way = forms.ChoiceField(
        label=gettext_lazy("How they are read"),
        choices=Way.choices,
        required=False,
        error_messages={"invalid_choice": gettext_lazy("Choose how the parameters are read.")},
    )
    template = forms.CharField(required=False, widget=forms.HiddenInput)
    key = forms.CharField(required=False, widget=forms.HiddenInput)
    # Only with the button that asks for an approval instead of creating the job.
    ask_reason = forms.CharField(
        label=gettext_lazy("Reason for those who approve it"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": 500}),
    )
    seen_prices = forms.CharField(required=False)  # stands in the quote: templates/jobs/_quote.html

    DRAFTED = (
        "project", "name", "script", "script_name", "command", "image", "inputs", "versions", "offering", "gpus",
        "time_amount", "time_unit", "cost_cap", "alternatives", "retries", "environment", "template",
        "parameters", "way", *NAMES,
    )  # fmt: skip

    def __init__(
        self,
        *args: Any,
        projects: Sequence[Project],
        offers: Sequence[Offer],
        choices: Choices = NO_CHOICES,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.projects = {project.code: project for project in projects}
        self.offers = {offer.slug: offer for offer in offers}
        self.data_choices = choices
        self.fields["project"].choices = [(p.code, p.name) for p in projects]  # type: ignore[attr-defined]
        plans = [(o.slug, o.offering.name) for o in offers]
        self.fields["offering"].choices = [(AUTO, _("Choose for me")), *plans]  # type: ignore[attr-defined]
        self.fields["alternatives"].choices = plans  # type: ignore[attr-defined]
        self.offer_choices(offers)
        self.fields["retries"].widget.choices = [  # type: ignore[attr-defined]
            (0, _("it ends")),
            *(
                (n, ngettext("it starts again, up to %(n)s time", "it starts again, up to %(n)s times", n) % {"n": n})
                for n in range(1, RETRIES_MAX + 1)
            ),
        ]
        offer = self.chosen_offer
        counts = offer.counts if offer else counts_of(offers) if self.is_auto else [1]
        self.fields["gpus"].widget.choices = [(n, str(n)) for n in counts]  # type: ignore[attr-defined]
        if self.is_bound:
            self._show_what_was_sent("gpus", "retries")
            if offer:
                self._say_what_the_plan_takes(offer)
        # Whatever the project can read may be named, what is shown is only the list: see _find_inputs.
        for name in ("inputs", "versions"):
            self.fields[name].valid_value = lambda value: True  # type: ignore[attr-defined]

    def _show_what_was_sent(self, *names: str) -> None:
        """A number that is in no list as well: a form that is refused shows what it was refused for."""
        for name in names:
            sent, choices = str(self[name].value() or ""), self.fields[name].widget.choices  # type: ignore[attr-defined]
            if sent and sent not in {str(value) for value, _label in choices}:
                choices.append((sent, sent))

    def _say_what_the_plan_takes(self, offer: Offer) -> None:
        self.fields["gpus"].wrong = _("Enter the number of GPUs as a whole number. %(allowed)s") % {  # type: ignore[attr-defined]
            "allowed": counts_sentence(offer.offering)
        }
        self.fields["time_amount"].wrong = _("Enter the time limit as a whole number. %(allowed)s") % {  # type: ignore[attr-defined]
            "allowed": times_sentence(offer.offering)
        }

    def say_registries(self, hosts: Sequence[str]) -> None:
        """Under the image: where the organization's own logins are used."""
        if hosts:
            said = _("Fetched with your organization's login: %(registries)s.") % {"registries": ", ".join(hosts)}
            image = self.fields["image"]
            image.help_text = format_html("{}<br>{}", image.help_text, said)

    @property
    def is_auto(self) -> bool:
        """The plan is left to the portal."""
        return str(self["offering"].value() or "") == AUTO

    @property
    def chosen_offer(self) -> Offer | None:
        return self.offers.get(str(self["offering"].value() or ""))

    @property
    def other_offers(self) -> list[tuple[Offer, bool]]:
        """Where the job could go as well, and whether it can with the number of GPUs that is chosen.

        One that cannot is listed only while it is ticked: going back to the first number must find it ticked still.
        """
        gpus = str(self["gpus"].value() or "")
        count = int(gpus) if gpus.isascii() and gpus.isdigit() and len(gpus) < 7 else 0
        others = [o for o in self.offers.values() if o is not self.chosen_offer]
        rated = [(o, not count or o.offering.allows_gpus(count)) for o in others]
        return [(o, fits) for o, fits in rated if fits or o.slug in self.chosen_others]

    @property
    def chosen_others(self) -> set[str]:
        return set(self["alternatives"].value() or ())

    def clean_name(self) -> str:
        name = " ".join(self.cleaned_data["name"].split())
        if has_hidden_letters(name):
            raise ValidationError(_("The job name contains invisible or control characters. Type it again."))
        if len(name) > NAME_MAX:
            raise ValidationError(_("A job name can have up to 50 characters. Shorten it."))
        return name

    def clean_script_name(self) -> str:
        name: str = self.cleaned_data["script_name"]
        if name and not _SCRIPT_NAME.fullmatch(name):
            raise ValidationError(
                _("A script file name has up to 60 letters, digits, dots, hyphens and underscores, e.g. main.py.")
            )
        if name in RESERVED_NAMES:
            raise ValidationError(
                _("%(name)s is the name of a folder that every job has. Choose another, e.g. main.py.") % {"name": name}
            )
        return name

    def clean_image(self) -> str:
        image: str = self.cleaned_data["image"]
        if len(image) > IMAGE_MAX:
            raise ValidationError(_("The name of a container image can have up to 300 characters. Shorten it."))
        if image and not _IMAGE.fullmatch(image):
            raise ValidationError(
                _("Enter a container image as name:tag, registry/name:tag or name@sha256:…, without other signs.")
            )
        return image

    def clean_ask_reason(self) -> str:
        reason = " ".join(str(self.cleaned_data["ask_reason"]).split())
        if "ask" in self.data and not reason:
            raise ValidationError(_("Write in a sentence why the job is worth it: it is what those who decide read."))
        return reason

    def clean_template(self) -> str:
        slug: str = self.cleaned_data["template"]
        if slug and not starter(slug):
            raise ValidationError(_("The starter you came from is not there any more. Begin without one."))
        return slug

    def clean_key(self) -> str:
        key: str = self.cleaned_data["key"]
        if not _KEY.fullmatch(key):
            raise ValidationError(_("This form is out of date. Check what you entered and create the job again."))
        return key

    def clean_seen_prices(self) -> frozenset[int] | None:
        """What cannot be read was not written by our page: then nobody was shown a price."""
        text: str = self.cleaned_data["seen_prices"]
        return frozenset(map(int, text.split(","))) if _IDS.fullmatch(text) else None

    def clean_environment(self) -> dict[str, str]:
        return _variables(self.cleaned_data["environment"])

    def clean_secrets(self) -> dict[str, str]:
        secrets = _variables(self.cleaned_data["secrets"])
        for name, value in secrets.items():
            if not value:
                raise ValidationError(_("Enter the value of the secret %(name)s.") % {"name": name})
        return secrets

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        self._check_variables()
        self._find_points()
        if "inputs" in data and "project" in data:
            self._find_inputs(self.projects[data["project"]])
        if (
            data.get("script") is not None
            and data.get("command") is not None
            and not data["script"].strip()
            and not data["command"].strip()
        ):
            self.add_error("script", _("Enter a script or a command."))
        if data.get("offering") == AUTO:
            self._find_place()
        elif "offering" in data:
            self._check_place(self.offers[data["offering"]])
        return data

    def _check_variables(self) -> None:
        environment, secrets = self.cleaned_data.get("environment"), self.cleaned_data.get("secrets")
        if environment is None or secrets is None:
            return
        for name in secrets:
            if name in environment:
                self.add_error(
                    "secrets", _("%(name)s is both a variable and a secret. Keep it in one place.") % {"name": name}
                )
                return
        together = {**environment, **secrets}
        if len(together) > ENVIRONMENT_MAX:
            self.add_error("environment", _("Up to 200 variables and secrets together are possible. Remove some."))
        elif sum(len(f"{n}={v}\0".encode()) for n, v in together.items()) > ENVIRONMENT_MAX_BYTES:
            self.add_error("environment", self.fields["environment"].too_long)  # type: ignore[attr-defined]

    def _find_inputs(self, project: Project) -> None:
        try:
            attached, alone = resolve(project, self.cleaned_data["inputs"], self.cleaned_data.get("versions", ()))
        except ValidationError as why:
            self.add_error("inputs", why)
            return
        if not (attached or alone) and self._needs_input():
            self.add_error(
                "inputs", _("This starter reads a file. Choose data, or upload a file under Datasets first.")
            )
            return
        self.cleaned_data["attached"], self.cleaned_data["inputs"] = attached, alone

    def _needs_input(self) -> bool:
        """Only while the script is the starter's own: who changes it may know better."""
        chosen = starter(self.cleaned_data.get("template", ""))
        return bool(
            chosen and chosen.wants_input and self.cleaned_data.get("script", "").strip() == chosen.script.strip()
        )

    def _find_place(self) -> None:
        """The best plan becomes the job's, and those after it the other places where it may go. Once the rest is right:
        a need that cannot be read is not one that no plan meets."""
        data = self.cleaned_data
        if self.errors:
            return
        decided = decide(
            self.projects[data["project"]],
            data,
            list(self.offers.values()),
            gpus=data["gpus"],
            time_limit_s=data["time_amount"] * UNITS[data["time_unit"]],
            cap_yen=data["cost_cap"],
            image=data["image"],
            template=data["template"],
            places=places_with(data["attached"], data["inputs"]),
            seed=data["key"],
            at=timezone.now(),
        )
        found = in_order(decided, list(self.offers.values()))
        if not found:
            offerings = {str(o.offering.pk): o.offering for o in self.offers.values()}
            for obstacle in obstacles(decided, offerings):
                self.add_error(obstacle.field, obstacle.sentence)
            return
        seen = data["seen_prices"]
        if seen is not None and any(offer.price.pk not in seen for offer in found):
            self.add_error(
                "offering", _("Prices have changed since you opened the page. Check the new quote and send it again.")
            )
            return
        data["placed"], data["time_limit_s"] = decided, decided.spec.time_limit_s
        data["offering"], data["alternatives"] = found[0].slug, found[1:]
        self._check_image(found[0].offering)

    def _check_place(self, offer: Offer) -> None:
        data, offering = self.cleaned_data, offer.offering
        gpus: int | None = data.get("gpus")
        if gpus is not None and not offering.allows_gpus(gpus):
            self.add_error("gpus", counts_sentence(offering))
            gpus = None
        data["alternatives"] = [
            o for o in self.offers.values() if o is not offer and o.slug in data.get("alternatives", ())
        ]
        self._check_image(offering)
        if data.get("time_amount") and data.get("time_unit"):
            self._check_time(offering, data["time_amount"] * UNITS[data["time_unit"]])
        if gpus and data.get("cost_cap") and data.get("time_limit_s"):
            least = quote(offering, offer.price, gpus=gpus, time_limit_s=data["time_limit_s"]).minimum
            if data["cost_cap"] < least:
                self.add_error(
                    "cost_cap",
                    least_sentence(offer.price, least),
                )

    def _find_points(self) -> None:
        """`points`: what each task is told; () for one job."""
        data = self.cleaned_data
        data["points"] = ()
        if "parameters" not in data or "way" not in data:
            return
        try:
            data["points"] = tuple(tasks_of(data["parameters"], Way(data["way"] or Way.GRID)))
        except ValidationError as wrong:
            self.add_error("parameters", wrong)
            return
        for name in data["points"][0] if data["points"] else ():
            if name in (data.get("environment") or ()) or name in (data.get("secrets") or ()):
                sentence = _("%(name)s is a parameter and a variable. Remove one of them.")
                self.add_error("parameters", sentence % {"name": name})

    def _check_image(self, offering: Offering) -> None:
        data = self.cleaned_data
        if "image" not in data:
            return
        chosen = starter(data.get("template", ""))
        usual = chosen.image if chosen else ""
        contained = [o for o in (offering, *(other.offering for other in data["alternatives"])) if o.containers]
        if contained:
            data["image"] = data["image"] or usual
            if not data["image"]:
                self.add_error(
                    "image", _("%(plan)s runs containers. Enter a container image.") % {"plan": contained[0].name}
                )
        elif data["image"] in ("", usual, USUAL_IMAGE):
            data["image"] = ""  # the form began with it, nobody asked for it
        else:
            self.add_error(
                "image",
                _("%(plan)s does not run containers. Empty this field or choose another plan.")
                % {"plan": offering.name},
            )

    def _check_time(self, offering: Offering, seconds: int) -> None:
        if wrong := time_sentence(offering, seconds):
            self.add_error("time_amount", wrong)
        else:
            self.cleaned_data["time_limit_s"] = seconds

    def request(self) -> tuple[Project, JobRequest]:
        """Of a valid form."""
        data = self.cleaned_data
        script = data["script"] if data["script"].strip() else ""
        name = (data["script_name"] or _name_of(script)) if script else ""
        return self.projects[data["project"]], JobRequest(
            name=data["name"],
            offering=self.offers[data["offering"]].offering,
            gpus=data["gpus"],
            time_limit_s=data["time_limit_s"],
            cost_cap=data["cost_cap"],
            command=data["command"].strip() or command_for(name),
            script=script,
            script_name=name,
            image=data["image"],
            environment=data["environment"],
            secrets=data["secrets"],
            attached=data["attached"],
            inputs=data["inputs"],
            template=data["template"],
            alternatives=tuple(o.offering for o in data["alternatives"]),
            retries=data["retries"] or 0,
            placed=data.get("placed"),
            seen_prices=data["seen_prices"],
        )


def command_for(script_name: str) -> str:
    """-u: lines appear in the log when they are printed, not when a buffer is full."""
    return f"python3 -u {script_name}" if script_name.endswith(".py") else f"sh ./{script_name}"


def _name_of(script: str) -> str:
    first = script.split("\n", 1)[0]
    return "main.sh" if first.startswith("#!") and "python" not in first else "main.py"


def _variables(text: str) -> dict[str, str]:
    """NAME=value lines; empty lines are skipped, everything after the first = is the value. Raises sentences."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        # The line itself may hold a secret, so only its number is said.
        if not equals or not VARIABLE.fullmatch(name):
            raise ValidationError(
                _("Line %(number)s is not NAME=value. A name has letters, digits and underscores and no digit first.")
                % {"number": number}
            )
        if name.upper().startswith(RESERVED):
            raise ValidationError(
                _("Line %(number)s: names that begin with PORTAL_, SAKURA_ or SLURM_ are reserved. Choose another.")
                % {"number": number}
            )
        if name in found:
            raise ValidationError(_("Line %(number)s: %(name)s is set twice.") % {"number": number, "name": name})
        found[name] = value
    return found


# --- what the form is filled with -------------------------------------------------------------------------------------


def values_of_starter(chosen: Starter) -> dict[str, Any]:
    return {
        "template": chosen.slug,
        "name": str(chosen.name),
        "script": chosen.script,
        "script_name": chosen.script_name,
        "image": chosen.image,
        **time_values(chosen.time_limit_s),
    }


def values_of_job(job: Job) -> dict[str, Any]:
    """To make a new job like this one. Of the secrets only the names: their values were never kept for reading."""
    inputs, versions = words_of(job)
    return {
        "template": job.template,
        "name": job.name,
        "script": job.script,
        "script_name": job.script_name,
        "command": "" if job.script and job.command == command_for(job.script_name) else job.command,
        "image": job.image,
        "inputs": inputs,
        "versions": versions,
        "offering": (first_place(job) if job.alternatives else job.offering).slug,
        "gpus": job.gpus,
        "cost_cap": job.cost_cap,
        "alternatives": [one["slug"] for one in job.alternatives],
        "retries": job.retries,
        "environment": "".join(f"{name}={value}\n" for name, value in job.environment.items()),
        "secrets": "".join(f"{name}=\n" for name in job.secret_names),
        **time_values(job.time_limit_s),
        **(values_of_needs(job) if job.strategy else {}),
    }


class KeepForm(forms.Form):
    """Which artifacts of a job become files of which dataset. `listed` are the artifacts that can be ticked one by one,
    `datasets` the names to choose from."""

    everything = forms.BooleanField(required=False)
    artifacts = forms.MultipleChoiceField(
        label=gettext_lazy("Files"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "invalid_choice": gettext_lazy("A chosen file is no longer there. Choose the files again."),
            "invalid_list": gettext_lazy("A chosen file is no longer there. Choose the files again."),
        },
    )
    dataset_name = forms.CharField(
        label=gettext_lazy("Dataset name"),
        help_text=gettext_lazy("A new dataset is made; one of the same name in the project gets the files added."),
        max_length=100,
        error_messages={
            "required": gettext_lazy("Enter the name of a dataset."),
            "max_length": gettext_lazy("The dataset name can have up to 100 characters."),
        },
        widget=forms.TextInput(attrs={"maxlength": 100, "autocomplete": "off", "list": "datasets"}),
    )

    def __init__(self, *args: Any, listed: Sequence[Artifact], count: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(str(artifact.pk), artifact.path) for artifact in listed]
        self.fields["artifacts"].choices = choices  # type: ignore[attr-defined]
        self.fields["everything"].label = ngettext("All %(n)s file", "All %(n)s files", count) % {"n": count}

    def clean_dataset_name(self) -> str:
        name = " ".join(self.cleaned_data["dataset_name"].split())
        if has_hidden_letters(name):
            raise ValidationError(_("The dataset name contains invisible control characters. Type it again."))
        return name

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if not data.get("everything") and data.get("artifacts") == []:
            self.add_error("artifacts", _("Choose at least one file."))
        return data
