from decimal import Decimal

import pytest

from portal.core.csv import csv_lines, csv_response


def test_first_line_carries_the_mark_that_makes_excel_read_utf_8() -> None:
    assert list(csv_lines(["ジョブ", "料金"], [["学習", Decimal("-1.50")], [None, 3]])) == [
        "\ufeffジョブ,料金\r\n",
        "学習,-1.50\r\n",
        ",3\r\n",
    ]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "　=1", "＝1", "＠x"])
def test_text_that_could_be_a_formula_is_marked_as_text(cell: str) -> None:
    line = next(csv_lines([cell], []))
    assert line.removeprefix("\ufeff").strip('"').startswith("'")


def test_object_with_hostile_text_is_marked_too() -> None:
    class Named:
        def __str__(self) -> str:
            return "=cmd"

    assert next(csv_lines([Named()], [])) == "\ufeff'=cmd\r\n"


def test_quotes_commas_and_line_breaks_stay_in_their_cell() -> None:
    assert next(csv_lines(['a"b', "c,d", "e\nf"], [])) == '\ufeff"a""b","c,d","e\nf"\r\n'


def test_response_is_a_streamed_download() -> None:
    response = csv_response("jobs.csv", ["a"], ([n] for n in range(2)))
    assert (response["Content-Type"], response["Content-Disposition"]) == (
        "text/csv; charset=utf-8",
        'attachment; filename="jobs.csv"',
    )
    assert b"".join(response.streaming_content) == "\ufeffa\r\n0\r\n1\r\n".encode()  # type: ignore[arg-type]
