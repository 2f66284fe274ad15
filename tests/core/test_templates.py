"""What the strict Content-Security-Policy would silently break is found here, in every template of the repository."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django import forms
from django.conf import settings
from django.template.loader import get_template
from django.urls import URLResolver, get_resolver

ROOT = Path(settings.BASE_DIR)
PAGES = sorted(p for p in ROOT.glob("templates/**/*.html") if "/email/" not in str(p))
FORBIDDEN = {
    "style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.I),
    "style element": re.compile(r"<style\b", re.I),
    "inline script": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.I),
    "event attribute": re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.I),
    "hx-on": re.compile(r"\bhx-on\b", re.I),
    "trigger filter": re.compile(r"hx-trigger(?::inherited)?\s*=\s*([\"'])[^\"']*\[", re.I),
    "js: value": re.compile(r"=\s*[\"'](?:js|javascript):", re.I),
    "other host": re.compile(r"\b(?:src|href|action|hx-(?:get|post|put|patch|delete))\s*=\s*[\"'](?:https?:)?//", re.I),
    "htmx 2 word": re.compile(r"\bhx-(?:disabled-elt|ext|vars|params)\b", re.I),
}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT / "templates")))
def test_template_has_nothing_that_the_policy_forbids(path: Path) -> None:
    text = re.sub(r"{%\s*comment.*?endcomment\s*%}|{#.*?#}", "", path.read_text(), flags=re.S)
    assert [name for name, pattern in FORBIDDEN.items() if pattern.search(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT / "templates")))
def test_template_compiles(path: Path) -> None:
    get_template(str(path.relative_to(ROOT / "templates")))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("style attribute", '<b style="x">'), ("style element", "<style>"), ("inline script", "<script>x</script>"),
        ("event attribute", '<b onclick="x">'), ("hx-on", '<b hx-on:click="x">'),
        ("trigger filter", '<b hx-trigger="click[ctrlKey]">'), ("js: value", "<b hx-vals='js:{}'>"),
        ("other host", '<img src="//cdn.example/x">'), ("htmx 2 word", '<b hx-disabled-elt="this">'),
    ],
)  # fmt: skip
def test_the_lint_sees_what_it_is_for(name: str, bad: str) -> None:
    assert FORBIDDEN[name].search(bad)


def test_every_icon_named_in_a_template_is_in_the_sprite() -> None:
    drawn = set(re.findall(r'<symbol id="(\w+)"', (ROOT / "static/img/icons.svg").read_text()))
    used = {name for page in PAGES for name in re.findall(r'{%\s*icon "(\w+)"', page.read_text())}
    assert used - drawn == set()


class Form(forms.Form):
    name = forms.CharField(
        label="Job name", help_text="Up to 50 characters.", widget=forms.TextInput(attrs={"class": "mono"})
    )
    kind = forms.ChoiceField(choices=[("a", "A")], widget=forms.RadioSelect(attrs={"data-look": "pills"}))
    agree = forms.BooleanField(label="I agree", required=False)
    code = forms.CharField(widget=forms.HiddenInput, initial="c")


def flat(html: str) -> str:
    return re.sub(r">\s+<", "><", re.sub(r"\s+", " ", html)).strip()


def test_field_is_label_hint_control_error_in_that_order() -> None:
    html = flat(Form({})["name"].as_field_group())
    parts = ["<label", "Job name", 'class="hint" id="id_name_helptext"', "<input", 'class="errmsg" id="id_name_error"']
    assert [html.index(part) for part in parts] == sorted(html.index(part) for part in parts)
    for attribute in ('aria-describedby="id_name_helptext id_name_error"', 'aria-invalid="true"', 'class="input mono"'):
        assert attribute in html


def test_group_of_choices_is_a_fieldset_with_a_legend() -> None:
    html = flat(Form({})["kind"].as_field_group())
    assert html.startswith('<fieldset class="field" id="id_kind" aria-describedby="id_kind_error"><legend>Kind')
    assert '<div class="pills"><label for="id_kind_0"><input' in html


def test_error_summary_links_to_each_field_and_is_absent_without_errors() -> None:
    html = str(Form({"agree": "on", "code": "c"}))
    assert re.findall(r'href="(#[^"]+)"', html) == ["#id_name", "#id_kind"]
    assert "error-summary" not in str(Form())
    assert str(Form()).count('type="hidden"') == 1


def test_label_and_error_from_a_person_stay_text() -> None:
    class Hostile(forms.Form):
        name = forms.CharField(label="<i>x", error_messages={"required": "<i>y"})

    assert "<i>" not in str(Hostile({}))


def test_every_address_named_in_a_template_exists() -> None:
    """`{% url … as … %}` is silent about a name that does not resolve: its link just disappears."""
    known = set(_names(get_resolver()))
    patterns = [r'{%\s*url "([^"]+)"', r'{%\s*(?:nav_item|palette_item) "([^"]+)"']
    named = {
        (str(page.relative_to(ROOT)), name)
        for page in ROOT.glob("templates/**/*.html")
        for pattern in patterns
        for name in re.findall(pattern, page.read_text())
    }
    assert {(page, name) for page, name in named if name not in known} == set()


def _names(resolver: URLResolver, namespace: str = "") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _names(pattern, f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace)
        elif pattern.name:
            yield f"{namespace}{pattern.name}"
