import json

import pytest

from portal.providers.emulators.malformed_bodies import MALFORMED, malformed


def test_no_malformed_body_has_what_was_asked_for() -> None:
    bodies = {word: malformed(word, b'{"id": "a"}') for word in MALFORMED}
    assert {word: len(body) for word, body in bodies.items()} == {
        "empty": 0, "html": 66, "invalid_utf8": 57, "wrong_type": 18, "missing_id": 2, "20_mb": 20_000_013,
    }  # fmt: skip
    with pytest.raises(UnicodeDecodeError):
        bodies["invalid_utf8"].decode()
    assert json.loads(bodies["wrong_type"]) == [None, 7, "text"]


def test_ids_are_missing_on_every_level() -> None:
    answer = b'{"meta": {"id": 1}, "jobs": [{"job_id": 7, "name": "a"}], "results": [[{"id": null}]]}'
    assert json.loads(malformed("missing_id", answer)) == {"meta": {}, "jobs": [{"name": "a"}], "results": [[{}]]}
    assert malformed("missing_id", b"") == b"{}"


def test_numbers_are_missing_in_what_commands_print() -> None:
    assert malformed("missing_id", b"17|COMPLETED|a\n17_3|FAILED|b\n") == b"|COMPLETED|a\n|FAILED|b\n"
    assert malformed("missing_id", b"17\n") == b"\n"
