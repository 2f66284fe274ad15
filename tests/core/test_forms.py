from __future__ import annotations

import pytest
from django import forms


class Every(forms.Form):
    line = forms.CharField()
    text = forms.CharField(widget=forms.Textarea(attrs={"class": "mono"}))
    one = forms.ChoiceField(choices=[("a", "A")])
    many = forms.MultipleChoiceField(choices=[("a", "A")])
    pills = forms.ChoiceField(choices=[("a", "A")], widget=forms.RadioSelect(attrs={"data-look": "pills"}))
    boxes = forms.MultipleChoiceField(choices=[("a", "A")], widget=forms.CheckboxSelectMultiple)
    agree = forms.BooleanField()
    file = forms.FileField()
    key = forms.CharField(widget=forms.HiddenInput)


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("line", "input"),
        ("text", "input mono"),
        ("one", "select"),
        ("many", "select"),
        ("pills", None),
        ("boxes", None),
        ("agree", None),
        ("file", None),
        ("key", None),
    ],
)
def test_each_control_has_the_class_that_the_style_sheet_knows(name: str, look: str | None) -> None:
    bound = Every()[name]
    assert bound.build_widget_attrs({}).get("class") == look


def test_how_a_group_of_choices_is_drawn() -> None:
    form = Every()
    assert [(form[name].look, form[name].is_single_checkbox) for name in ("pills", "boxes", "agree")] == [
        ("pills", False),
        ("", False),
        ("", True),
    ]


def test_a_form_renders_by_our_templates() -> None:
    assert 'class="input mono"' in str(Every()["text"].as_field_group())
    assert 'class="select"' in str(Every())
