import io
import re
import string

import pytest

from portal.launcher import messages
from portal.launcher.bootstrap import ROOT

CODE = "\n".join(path.read_text() for path in (ROOT / "portal" / "launcher").glob("*.py"))


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.fixture
def language(monkeypatch):
    def choose(value: str, *, encoding: str = "utf-8") -> None:
        for name in ("LC_ALL", "LC_MESSAGES"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("LANG", value)
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    return choose


@pytest.mark.parametrize("name", messages.SENTENCES)
def test_both_languages_are_there_and_say_the_same_values(name):
    english, japanese = messages.SENTENCES[name]

    assert english.isascii()
    assert re.search("[ぁ-んァ-ヶ一-龠]", japanese)
    assert fields(english) == fields(japanese)


def test_every_message_is_used_and_every_used_one_exists():
    used = set(re.findall(r'(?:say|sentence|CannotContinue|failure)\(\s*"(\w+)"', CODE)) | set(
        re.findall(r'"(tests_\w+)"[,)]', CODE)
    )

    assert used == set(messages.SENTENCES)


def test_language_follows_the_environment(language):
    language("ja_JP.UTF-8")
    assert messages.sentence("stopping") == "停止しています…"
    language("en_US.UTF-8")
    assert messages.sentence("stopping") == "Stopping ..."
    language("")
    assert messages.sentence("stopping") == "Stopping ..."


def test_english_where_the_terminal_cannot_show_japanese(language):
    language("ja_JP", encoding="ascii")
    assert messages.sentence("stopping") == "Stopping ..."


def test_log_lines_never_break_a_plain_terminal():
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    messages.show("ログ: disk full", to=terminal)

    assert terminal.buffer.getvalue() == b"\\u30ed\\u30b0: disk full\n"
