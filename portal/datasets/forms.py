from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta
from typing import Any, cast

from django import forms
from django.core.validators import RegexValidator
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from portal.accounts.models import Project
from portal.core.periods import interval_of_day
from portal.datasets.models import Dataset, DatasetVersion
from portal.datasets.names import file_path_from
from portal.datasets.uploading import MAX_BYTES, FileToSend

_is_sha256 = RegexValidator(r"\A[0-9a-f]{64}\Z", gettext_lazy("A checksum is 64 hexadecimal digits."))
_unreadable = gettext_lazy(
    "The portal could not read what your browser sent. Reload the page and choose the file again."
)
_UNREADABLE = {"required": _unreadable, "invalid": _unreadable, "min_value": _unreadable, "max_value": _unreadable}
PARTS_AT_ONCE = 100


class _NamedDataset(forms.Form):
    """Where a file goes: into a known dataset, or into the one of that name."""

    project = forms.CharField(required=False, max_length=16, widget=forms.HiddenInput)
    dataset = forms.CharField(required=False, max_length=20, widget=forms.HiddenInput)
    dataset_name = forms.CharField(
        label=Dataset._meta.get_field("name").verbose_name,
        required=False,
        max_length=100,
        error_messages={"max_length": gettext_lazy("The dataset name can have up to 100 characters.")},
        help_text=gettext_lazy("A new dataset is made; one of the same name in the project gets the files added."),
    )

    def clean_dataset_name(self) -> str:
        name = " ".join(str(self.cleaned_data["dataset_name"]).split())
        if name and not name.isprintable():
            raise forms.ValidationError(_("The dataset name contains invisible control characters. Type it again."))
        return name


class BeginForm(_NamedDataset):
    """What upload.js says of a file before it sends it."""

    resume = forms.CharField(required=False, max_length=20)
    name = forms.CharField(required=False, strip=False)
    size = forms.IntegerField(min_value=0, error_messages=_UNREADABLE)
    content_type = forms.CharField(required=False)
    last_modified = forms.IntegerField(required=False, min_value=0, max_value=2**53, error_messages=_UNREADABLE)
    fingerprint = forms.CharField(required=False, validators=[_is_sha256])
    sha256 = forms.CharField(required=False, validators=[_is_sha256])

    def clean_name(self) -> str:
        return file_path_from(self.cleaned_data["name"])

    def clean_size(self) -> int:
        size = int(self.cleaned_data["size"])
        if size > MAX_BYTES:
            raise forms.ValidationError(
                _("A file can have up to 5 TiB (about 5.5 TB). Split this one and upload the pieces.")
            )
        return size

    def clean_content_type(self) -> str:
        kind = str(self.cleaned_data["content_type"])[:100]
        return kind if re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind, re.ASCII) else ""

    @property
    def sent(self) -> FileToSend:
        said = self.cleaned_data
        return FileToSend(
            name=said["name"],
            size_bytes=said["size"],
            content_type=said["content_type"],
            last_modified_ms=said["last_modified"] or 0,
            fingerprint=said["fingerprint"],
            sha256=said["sha256"],
        )


class LastDayForm(forms.Form):
    last_day = forms.DateField(
        label=pgettext_lazy("dataset", "Last day"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": gettext_lazy("Enter a day, for example 2027-03-31.")},
        help_text=gettext_lazy("Left empty, the dataset is kept until somebody deletes it."),
    )


class DeleteDatasetForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        error_messages={
            "required": gettext_lazy("Say why the dataset is deleted. It stands in the certificate."),
            "max_length": gettext_lazy("The reason can have up to 300 characters."),
        },
        help_text=gettext_lazy(
            "Stands in the deletion certificate, for example: end of the study, request of the data's owner."
        ),
    )

    def clean_reason(self) -> str:
        reason = " ".join(str(self.cleaned_data["reason"]).split())
        if not reason.isprintable():
            raise forms.ValidationError(_("The reason contains invisible control characters. Type it again."))
        return reason


class PartsForm(forms.Form):
    """`parts`: JSON, part number to SHA-256 in hex, at most 100 of them."""

    parts = forms.CharField(error_messages=_UNREADABLE)

    def clean_parts(self) -> dict[int, str]:
        try:
            asked = json.loads(self.cleaned_data["parts"])
            parts = {int(number): str(sha256) for number, sha256 in asked.items()}
        except (ValueError, AttributeError, RecursionError):
            raise forms.ValidationError(_unreadable) from None
        if not 0 < len(parts) <= PARTS_AT_ONCE:
            raise forms.ValidationError(_unreadable)
        for sha256 in parts.values():
            _is_sha256(sha256)
        return parts


class CompleteForm(forms.Form):
    """`parts_sha256`: SHA-256 over the parts' SHA-256 (bytes, in order)."""

    parts_sha256 = forms.CharField(validators=[_is_sha256], error_messages=_UNREADABLE)


class PlainForm(_NamedDataset):
    """Step one for a browser without script: where the file goes and what it is called."""

    name = forms.CharField(
        label=gettext_lazy("File name"),
        error_messages={"required": gettext_lazy("Enter a file name.")},
        help_text=gettext_lazy(
            "As jobs will see it, for example words.txt or train/words.txt. Choose the file itself in the next step."
        ),
    )

    field_order = ["project", "dataset", "dataset_name", "name"]

    def __init__(self, *args: Any, projects: list[Project], dataset: Dataset | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if dataset is not None:
            del self.fields["dataset_name"], self.fields["project"]
            return
        self.fields["project"] = forms.ChoiceField(
            label=gettext_lazy("Project"), choices=[(project.code, project.name) for project in projects]
        )
        self.order_fields(self.field_order)

    def clean_name(self) -> str:
        return file_path_from(self.cleaned_data["name"])


class VersionForm(forms.Form):
    """A new version: what it is, in a few words; `wait` until every file is verified."""

    note = forms.CharField(
        label=DatasetVersion._meta.get_field("note").verbose_name,
        required=False,
        max_length=200,
        error_messages={"max_length": gettext_lazy("A note can have up to 200 characters. Shorten it.")},
    )
    wait = forms.BooleanField(required=False)

    def clean_note(self) -> str:
        note = " ".join(str(self.cleaned_data["note"]).split())
        if not note.isprintable():
            raise forms.ValidationError(_("The note contains invisible control characters. Type it again."))
        return note


class SharingForm(forms.Form):
    """With whom, and until the end of which day in Japan. `projects`: those of the own organization to choose from.

    After is_valid: `project` (None: the whole organization) and `until`. Whether a code names a project is for the
    view to find out.
    """

    ORGANIZATION, CODE = "organization", "code"

    receiver = forms.ChoiceField(
        label=gettext_lazy("Share with"),
        widget=forms.RadioSelect,
        error_messages={
            "required": gettext_lazy("Choose with whom to share."),
            "invalid_choice": gettext_lazy("Choose one of the receivers listed."),
        },
    )
    project_code = forms.CharField(
        label=gettext_lazy("Project code"),
        required=False,
        max_length=40,
        help_text=gettext_lazy(
            "Like p-7k3q9xab. Only for “another project”: ask one of its managers, who finds it under Projects, Edit."
        ),
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    last_day = forms.DateField(
        label=gettext_lazy("Last day"),
        required=False,
        help_text=gettext_lazy(
            "The share ends by itself when this day ends in Japan. Needed for another organization; inside your own"
            " you may leave it empty for no end."
        ),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": gettext_lazy("Enter the last day as year, month and day.")},
    )

    def __init__(self, *args: Any, dataset: Dataset, projects: list[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.projects = {project.code: project for project in projects}
        cast(forms.ChoiceField, self.fields["receiver"]).choices = [
            *((code, _("Project %(name)s") % {"name": project.name}) for code, project in self.projects.items()),
            (self.ORGANIZATION, _("All of %(name)s") % {"name": dataset.organization.name}),
            (self.CODE, _("Another project, of your own or another organization, by its code")),
        ]

    def clean_project_code(self) -> str:
        return str(self.cleaned_data["project_code"]).lower()

    def clean_last_day(self) -> date | None:
        day: date | None = self.cleaned_data["last_day"]
        today = timezone.localdate()
        if day is not None and day < today:
            raise forms.ValidationError(_("Choose today or a later day."))
        if day is not None and day > today + timedelta(days=3660):
            raise forms.ValidationError(_("Choose a day within ten years."))
        return day

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if data.get("receiver") == self.CODE and not data.get("project_code") and "project_code" not in self.errors:
            self.add_error("project_code", _("Enter the code of the project."))
        return data

    @property
    def until(self) -> datetime | None:
        """The first instant of the day after, in Japan."""
        day: date | None = self.cleaned_data["last_day"]
        return interval_of_day(day).end if day else None
