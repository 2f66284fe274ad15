"""What the job form accepts as well formed, without a page around it."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from portal.jobs.forms import _IMAGE, _variables, command_for


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11-slim",
        "ubuntu",
        "library/ubuntu:24.04",
        "registry.example.jp/team/trainer:2026.11",
        "localhost:5000/a/b_c/d--e:v1",
        "python@sha256:" + "a" * 64,
        "registry.example.jp:443/x/y:z@sha256:" + "0" * 64,
    ],
)
def test_image_names_that_registries_know(image):
    assert _IMAGE.fullmatch(image)


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11; id",
        "$(id)", "`id`", "a b", "a|b", "a&b", "a>b", "a\nb", "-v", "--privileged", "../x", "a//b", "/a",
        "a/", "a:", "a@sha256:zz", "A", "a'b", 'a"b', "a\\b", "http://a/b", "a:b:c", "ａ", "",
    ],
)  # fmt: skip
def test_image_names_that_are_refused(image):
    assert not _IMAGE.fullmatch(image)


@given(st.text(max_size=400))
def test_no_image_name_holds_a_sign_that_a_shell_would_see(text):
    if _IMAGE.fullmatch(text):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@")


def test_variables_keep_everything_after_the_first_equals_sign():
    assert _variables("A=1\n\n  B = x=y \nC=") == {"A": "1", "B": " x=y ", "C": ""}


@pytest.mark.parametrize(
    "text", ["A", "=x", "1A=x", "A-B=x", "Ａ=x", "portal_x=1", "SAKURA_X=1", "SLURM_JOB_ID=1", "A=1\nA=1"]
)
def test_variables_that_are_refused(text):
    with pytest.raises(ValidationError):
        _variables(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_variables(text):
    try:
        assert all(name.isidentifier() and name.isascii() for name in _variables(text))
    except ValidationError as problem:
        assert len(problem.messages) == 1


def test_commands_of_scripts_show_lines_at_once():
    assert [command_for("main.py"), command_for("run")] == ["python3 -u main.py", "sh ./run"]
