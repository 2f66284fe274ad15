from pathlib import Path

import django
import polib
from babel.messages.extract import extract_python

from portal.core import django_sentences
from portal.core.management.commands.translations import KEYWORDS


def test_each_sentence_is_one_that_django_still_says() -> None:
    root = Path(django.__file__).parent
    catalogs = [root / place / "locale/en/LC_MESSAGES/django.po" for place in ("conf", "contrib/auth")]
    theirs = {entry.msgid for catalog in catalogs for entry in polib.pofile(str(catalog))}
    with Path(django_sentences.__file__).open("rb") as source:
        found = [messages for _line, _function, messages, _comments in extract_python(source, KEYWORDS, [], {})]
    ours = {message if isinstance(message, str) else message[0] for message in found}
    assert (ours - theirs, len(ours)) == (set(), len(django_sentences.SENTENCES))
