from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.datasets.parquet import Column, NotParquet, Schema, footer_length, schema_of

# The end of a file of three rows that Apache Arrow 26 wrote; 924 bytes, of which the footer is 590.
END = base64.b64decode(
    "FQQZvDUAGAZzY2hlbWEVDAAVBCUCGAbnlarlj7cAFQwlAhgEbmFtZSUATBwAAAAVDhUKFQIYBXByaWNlJQoVBBUULFwVBBUUAAAA"
    "FQQlAhgCYXQlEkyMEhwcAAAAAAA1AhgEdGFncxUCFQZMPAAAADUEGARsaXN0FQIAFQwlAhgHZWxlbWVudCUATBwAAAA1AhgDYm94"
    "FQQAFQolAhgBeAAVCiUCGAF5ABYGGRwZfCYAHBUEGSUGABkYBueVquWPtxUAFgYWYhZiJghJHBUAFQAVAgA8KQYZJgAGAAAAJgAc"
    "FQwZJQYAGRgEbmFtZRUAFgYWThZOJmpJHBUAFQAVAgA8FgwZBhkmAgQAAAAmABwVDhklBgAZGAVwcmljZRUAFgYWUBZQJrgBSRwV"
    "ABUAFQIAPCkGGSYABgAAACYAHBUEGSUGABkYAmF0FQAWBhZiFmImiAJJHBUAFQAVAgA8KQYZJgAGAAAAJgAcFQwZJQYAGTgEdGFn"
    "cwRsaXN0B2VsZW1lbnQVABYIFl4WXibqAkkcFQAVABUCADwWBhkmBgIZRgACAAYAAAAmABwVChklBgAZKANib3gBeBUAFgYWYhZi"
    "JsgDSRwVABUAFQIAPCkGGTYAAAYAAAAmABwVChklBgAZKANib3gBeRUAFgYWYhZiJqoESRwVABUAFQIAPCkGGTYAAAYAAAAWhAUW"
    "BiYIFoQFACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNi4wLjEZfBwAABwAABwAABwAABwAABwAABwAAABOAgAAUEFSMQ=="
)
FOOTER, TAIL = END[:-8], END[-8:]


def test_the_schema_of_a_file_that_arrow_wrote() -> None:
    assert footer_length(TAIL) == len(FOOTER) == 590
    assert schema_of(FOOTER) == Schema(
        [
            Column(0, "番号", "INT64", "", "optional"),
            Column(0, "name", "BYTE_ARRAY", "UTF8", "optional"),
            Column(0, "price", "FIXED_LEN_BYTE_ARRAY", "DECIMAL(10, 2)", "optional"),
            Column(0, "at", "INT64", "TIMESTAMP_MILLIS", "optional"),
            Column(0, "tags", "", "LIST", "optional"),
            Column(1, "list", "", "", "repeated"),
            Column(2, "element", "BYTE_ARRAY", "UTF8", "optional"),
            Column(0, "box", "", "", "optional"),
            Column(1, "x", "DOUBLE", "", "optional"),
            Column(1, "y", "DOUBLE", "", "optional"),
        ],
        rows=3,
        is_cut=False,
    )


def test_only_the_schema_is_needed() -> None:
    """The row groups that follow may be megabytes."""
    assert schema_of(FOOTER[:300]) == schema_of(FOOTER)


@pytest.mark.parametrize("end", [b"", b"PAR1", b"\0\0\0\0PARE", b"\0" * 9])
def test_other_files_have_no_footer(end: bytes) -> None:
    with pytest.raises(NotParquet):
        footer_length(end)


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_bytes_that_were_changed_or_cut_are_refused_or_bounded(noise: bytes, at: int, until: int) -> None:
    for footer in (noise, FOOTER[:at] + noise + FOOTER[at + len(noise) :], FOOTER[:until]):
        with suppress(NotParquet):
            assert len(schema_of(footer).columns) <= 2000
