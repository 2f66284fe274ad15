"""Finds every string of templates and code, and keeps portal/locale/*/LC_MESSAGES/django.{po,mo} in step with them.

`translations` writes the catalogs; `translations --check` only says what is missing or out of step (exit 1). English is
the text in the source itself; its catalog holds plurals only because Django wants a catalog for every language.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation.template import templatize

KEYWORDS: dict[str, Any] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
Key = tuple[str, str, str]  # context, msgid, plural msgid; "" for none
HEADERS = {"ja": "nplurals=1; plural=0;", "en": "nplurals=2; plural=(n != 1);"}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true")

    def handle(self, *args: object, **options: Any) -> None:
        found = dict(strings(settings.BASE_DIR))
        problems = []
        for language in ("ja", "en"):
            folder = settings.BASE_DIR / "portal" / "locale" / language / "LC_MESSAGES"
            if options["check"]:
                problems += check(folder, language, found)
            else:
                write(folder, language, found)
                problems += [f"{language}: no translation of {key[1]!r}" for key in untranslated(folder, language)]
        for problem in problems:
            self.stderr.write(problem)
        if problems:
            raise CommandError(f"{len(problems)} strings need attention.")


def strings(root: Path) -> Iterator[tuple[Key, list[str]]]:
    """Each string once, with the files it stands in."""
    from babel.messages.extract import extract_python

    found: dict[Key, list[str]] = {}
    files = [*sorted((root / "portal").rglob("*.py")), *sorted((root / "templates").rglob("*.[ht][tx]*"))]
    for path in files:
        if "migrations" in path.parts or "starters" in path.parts[:-1]:
            continue
        text = path.read_text(encoding="utf-8")
        code = text if path.suffix == ".py" else templatize(text, origin=str(path))
        for _line, function, messages, _comments in extract_python(
            io.BytesIO(code.encode()), KEYWORDS, [], {"encoding": "utf-8"}
        ):
            key = _key(str(function), messages)
            if key is not None:
                found.setdefault(key, []).append(str(path.relative_to(root)))
    yield from sorted(found.items())


def _key(function: str, messages: Any) -> Key | None:
    parts = list(messages) if isinstance(messages, tuple) else [messages]
    if function == "npgettext":
        key = (parts[0], parts[1], parts[2])
    elif function.startswith("pgettext"):
        key = (parts[0], parts[1], "")
    elif function.startswith("ngettext"):
        key = ("", parts[0], parts[1])
    else:
        key = ("", parts[0], "")
    return key if key[1] and None not in key else None  # a variable as the argument is not a string to translate


def check(folder: Path, language: str, found: dict[Key, list[str]]) -> list[str]:
    import polib

    catalog = polib.pofile(str(folder / "django.po"))
    known = {_entry_key(entry) for entry in catalog if not entry.obsolete}
    problems = [f"{language}: not in the catalog: {key[1]!r} ({found[key][0]})" for key in sorted(set(found) - known)]
    problems += [f"{language}: no longer used: {key[1]!r}" for key in sorted(known - set(found))]
    problems += [f"{language}: no translation of {key[1]!r}" for key in untranslated(folder, language)]
    if catalog.to_binary() != (folder / "django.mo").read_bytes():
        problems.append(f"{language}: django.mo is older than django.po: run manage.py translations")
    return problems


def untranslated(folder: Path, language: str) -> list[Key]:
    import polib

    if language == "en":
        return []
    return [_entry_key(e) for e in polib.pofile(str(folder / "django.po")) if not e.translated() and not e.obsolete]


def write(folder: Path, language: str, found: dict[Key, list[str]]) -> None:
    """Keeps what is translated, adds what is new, drops what no file says any more."""
    import polib

    path = folder / "django.po"
    old = {_entry_key(e): e for e in polib.pofile(str(path))} if path.exists() else {}
    catalog = polib.POFile(wrapwidth=120)
    catalog.metadata = {
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": HEADERS[language],
    }
    for key, files in found.items():
        context, msgid, plural = key
        entry = polib.POEntry(msgid=msgid, msgctxt=context or None, msgid_plural=plural)
        entry.occurrences = [(name, "") for name in sorted(set(files))]
        if language == "en" and "django_sentences" in files[0] and key in old:
            # Django's words, said better: written by hand in the catalog.
            entry.msgstr, entry.msgstr_plural = old[key].msgstr, old[key].msgstr_plural
        elif language == "en":
            if plural:
                entry.msgstr_plural = {0: msgid, 1: plural}
            else:
                entry.msgstr = msgid
        elif key in old:
            entry.msgstr, entry.msgstr_plural = old[key].msgstr, old[key].msgstr_plural
        elif plural:
            entry.msgstr_plural = {0: ""}
        catalog.append(entry)
    folder.mkdir(parents=True, exist_ok=True)
    catalog.save(str(path))
    catalog.save_as_mofile(str(folder / "django.mo"))


def _entry_key(entry: Any) -> Key:
    return (entry.msgctxt or "", entry.msgid, entry.msgid_plural or "")
