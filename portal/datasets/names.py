"""What people call things, made safe for a path. Japanese stays Japanese; what could leave the folder is refused."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

FILE_NAME_BYTES = 255  # what Linux file systems hold
PATH_LETTERS = 1000
PATH_DEPTH = 32
FOLDER_BYTES = 120
FOLDER_LETTERS = 90

# Letters that reorder what stands beside them: "fdp.exe" must not read as "exe.pdf".
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Letters that nobody sees, so that two names look alike, and code points that are no letters. The joiners U+200C and
# U+200D are not here: scripts and emoji are written with them.
_UNSEEN = re.compile("[\u00ad\u180e\u200b\u2060-\u2064\ufeff\ufdd0-\ufdef\ufff9-\ufffb]")


def file_path_from(raw: str) -> str:
    """The path inside the dataset as it is stored and as jobs see it, "train/a.csv" or a name alone: each segment a
    file name. Raises ValidationError with a sentence."""
    segments = raw.split("/")
    if len(segments) > PATH_DEPTH:
        raise ValidationError(
            _("Files can lie up to %(n)s folders deep. Move the file up and choose it again.") % {"n": PATH_DEPTH - 1}
        )
    named = [segment.strip() for segment in segments]
    if "." in named or ".." in named or (len(named) > 1 and "" in named):
        raise ValidationError(
            _("A path is made of folder names with one / between them, without . and .. as names. Correct the path.")
        )
    path = "/".join(file_name_from(segment) for segment in segments)
    if len(path) > PATH_LETTERS:
        raise ValidationError(_("The path is longer than 1,000 characters. Shorten a folder name and choose it again."))
    return path


def file_name_from(raw: str) -> str:
    """NFC, no blanks around it."""
    name = unicodedata.normalize("NFC", raw).strip()
    if not name:
        raise ValidationError(_("Enter a file name."))
    if name in (".", "..") or "/" in name or "\\" in name:
        raise ValidationError(_("A file name cannot contain / or \\. Rename the file and choose it again."))
    if _DIRECTION.search(name) or _UNSEEN.search(name) or any(_is_control(letter) for letter in name):
        raise ValidationError(
            _("The file name contains invisible control characters. Rename the file and choose it again.")
        )
    if len(name.encode()) > FILE_NAME_BYTES:
        raise ValidationError(
            _("The file name is longer than 255 bytes (about 85 Japanese characters). Shorten it and choose it again.")
        )
    return name


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or ord(letter) & 0xFFFE == 0xFFFE


def folder_from(dataset_name: str, *, is_taken: Callable[[str], bool]) -> str:
    """One path segment like the name: letters and digits of any script, - _ and dots inside; -2, -3 … when taken."""
    kept = "".join(
        letter if unicodedata.category(letter)[0] in "LMN" or letter in "-_." else "_"
        for letter in unicodedata.normalize("NFC", dataset_name)
    )
    folder = _cut(re.sub("__+", "_", kept).strip("._-")) or "data"
    candidate, number = folder, 1
    while is_taken(candidate):
        number += 1
        candidate = f"{folder}-{number}"
    return candidate


def _cut(text: str) -> str:
    return text[:FOLDER_LETTERS].encode()[:FOLDER_BYTES].decode(errors="ignore").rstrip("._-")
