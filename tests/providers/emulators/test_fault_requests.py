"""What is a fault, and the sentence for what is none."""

import json

import pytest

from portal.providers.emulators.fault_kinds import (
    Backwards,
    Clear,
    ClockSkew,
    Fault,
    Kind,
    ListingLag,
    LogFault,
    Revoked,
    SameId,
    UsageFault,
)
from portal.providers.emulators.fault_requests import read


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({"on": "submit", "fault": "503:0.1:after"}, [Fault("submit", 503, 0.1, "after")]),
        ({"on": "get", "fault": "1:1:before", "times": 2}, [Fault("get", 1, 1.0, "before", times=2)]),
        ({"on": "list", "latency_s": 30}, [Fault("list", latency_s=30)]),
        ({"on": "*", "reset": True}, [Fault("*", reset=True)]),
        ({"on": "get", "malformed": "20_mb"}, [Fault("get", malformed="20_mb")]),
        (
            [{"on": "find", "fault": "429:.5:before", "headers": {"Retry-After": "9"}}, {"clock_skew_s": 0}],
            [Fault("find", 429, 0.5, headers={"Retry-After": "9"}), ClockSkew(0)],
        ),
        ({"on": "list", "listing_lag_s": 90}, [ListingLag(90)]),
        ({"backwards": "*"}, [Backwards("*")]),
        ({"clock_skew_s": -900}, [ClockSkew(-900)]),
        ({"revoked": 403}, [Revoked(403)]),
        ({"same_id": True, "times": 1}, [SameId(True, 1)]),
        ({"log_cut_every_s": 5, "log_bytes_per_s": 0.5}, [LogFault(log_bytes_per_s=0.5, log_cut_every_s=5)]),
        ({"usage_corrected_by_s": -60, "usage_negative": True}, [UsageFault(False, 0.0, -60, True)]),
        ({"clear": True}, [Clear(True)]),
    ],
)
def test_a_request_means_these_faults(wanted: object, meant: list[Kind]) -> None:
    assert read(wanted) == meant


ON = "on must be one of submit, find, get, list, cancel, update, log, artifact, check, file, *."
WORD = "fault is a text STATUS:RATE:before|after, such as 503:0.1:after."


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("null", "A fault is a JSON object, or a list of them."),
        ("[]", "An empty list asks for nothing."),
        ("[[]]", "A fault is a JSON object, or a list of them."),
        ('{"clear": false}', "clear asks for nothing."),
        ('{"clear": 1}', "clear must be true or false."),
        ('{"clear": true, "on": "get"}', "The field 'on' is unknown here; known are clear."),
        ('{"on": "got", "status": 500}', ON),
        ('{"on": ["get"], "status": 500}', "on must be a text."),
        ('{"on": "get"}', "Nothing goes wrong by this."),
        ('{"on": "get", "fault": "503"}', WORD),
        ('{"on": "get", "fault": "503:1:during"}', WORD),
        ('{"on": "get", "fault": 503}', WORD),
        ('{"on": "get", "fault": "503:1.5:after"}', "rate must be between 0 and 1."),
        ('{"on": "get", "fault": "0:1:after"}', "Nothing goes wrong by this."),
        (
            '{"on": "get", "fault": "503:1:after", "rate": 1}',
            "fault and rate say the same: only one of them may be given.",
        ),
        ('{"on": "get", "status": "503"}', "status must be a whole number."),
        ('{"on": "get", "status": true}', "status must be a whole number."),
        ('{"on": "get", "status": 600}', "status must be at most 599."),
        ('{"on": "get", "status": -1}', "status is out of range."),
        ('{"on": "get", "status": 500, "phase": "during"}', "phase must be before or after."),
        ('{"on": "get", "status": 500, "times": 0}', "times is out of range."),
        ('{"on": "get", "latency_s": NaN}', "latency_s is out of range."),
        ('{"on": "get", "latency_s": 1e300}', "latency_s is out of range."),
        ('{"on": "get", "reset": "true"}', "reset must be true or false."),
        ('{"on": "get", "body": "text"}', "A body or headers need a status."),
        (
            '{"on": "get", "malformed": "odd"}',
            "malformed must be one of empty, html, invalid_utf8, wrong_type, missing_id, 20_mb.",
        ),
        (
            '{"on": "get", "malformed": "html", "body": "x"}',
            "body and malformed say the same: only one of them may be given.",
        ),
        (
            '{"on": "get", "status": 500, "headers": {"A": "b\\r\\nC: d"}}',
            "headers must be an object of printable texts.",
        ),
        ('{"on": "get", "status": 500, "headers": ["A"]}', "headers must be an object of printable texts."),
        ('{"on": "get", "listing_lag_s": 9}', "Only lists lag behind: on must be list."),
        ('{"vanished": ""}', "vanished asks for nothing."),
        ('{"vanished": 7}', "vanished must be a text."),
        ('{"vanished": "7", "since": 1}', "The field 'since' is unknown here; known are vanished, for_s."),
        ('{"revoked": 500}', "revoked must be 401 or 403."),
        ('{"log_garbled": false}', "log_garbled asks for nothing."),
        ('{"usage_late_s": -1}', "usage_late_s is out of range."),
        ('[{"on": "get", "status": 500}, {"on": "get"}]', "Nothing goes wrong by this."),
    ],
)
def test_what_is_no_fault_is_refused_with_one_sentence(wanted: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(json.loads(wanted))
    assert str(refused.value) == sentence


def test_an_object_without_any_word_is_told_all_of_them() -> None:
    for wanted in ({}, {"nonsense": 1}, {"fault": "503:1:after"}):
        with pytest.raises(ValueError, match=r"^A fault has one of these fields: clear, .*, usage_negative\.$"):
            read(wanted)
