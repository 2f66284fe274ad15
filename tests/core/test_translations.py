"""No page is half translated: each string of templates and code has its translation in the Japanese catalog."""

import io

from django.conf import settings
from django.core.management import call_command

from portal.core.management.commands import translations


def test_catalogs_are_complete_and_in_step_with_the_source() -> None:
    call_command("translations", check=True, stderr=io.StringIO())


def test_a_translation_keeps_every_placeholder() -> None:
    import re

    import polib

    wrong = []
    path = settings.BASE_DIR / "portal" / "locale" / "ja" / "LC_MESSAGES" / "django.po"
    for entry in polib.pofile(str(path)):
        if any("django_sentences" in name for name, _line in entry.occurrences):
            continue  # Django passes the value along; repeating what was typed helps nobody
        wanted = set(re.findall(r"%\((\w+)\)|\{(\w+)\}", entry.msgid))
        for text in [entry.msgstr, *entry.msgstr_plural.values()]:
            if text and set(re.findall(r"%\((\w+)\)|\{(\w+)\}", text)) != wanted:
                wrong.append(entry.msgid)
    assert wrong == []


def test_strings_finds_what_templates_and_code_say(tmp_path: object) -> None:
    found = dict(translations.strings(settings.BASE_DIR))
    assert ("", "Find GPUs", "") in found
    assert ("list", "Sort by", "") in found
    assert ("", "%(count)d GPU", "%(count)d GPUs") in found
