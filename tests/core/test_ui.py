import re
from types import SimpleNamespace

from django.template import engines
from django.test import RequestFactory
from django.urls import resolve
from django.utils import translation

from portal.core.templatetags.ui import initial

TONES = ("", "warn", "ok", "err")


def test_unknown_provider_gets_an_initial_and_no_markup() -> None:
    html = engines["django"].from_string('{% provider_mark "x" name %}').render({"name": "<b>New"})
    assert ('class="prov other"' in html, "&lt;b&gt;New" in html, "<b>" in html) == (True, True, False)


def test_state_badge_takes_its_look_from_the_state() -> None:
    state = SimpleNamespace(label="Running", face=SimpleNamespace(badge="run", icon="run"))
    assert engines["django"].from_string("{% state_badge s %}").render({"s": state}) == (
        '<span class="badge run"><svg class="i s" aria-hidden="true"><use href="/static/img/icons.svg#run"/></svg>'
        "Running</span>"
    )


def rendered(template: str, **context: object) -> str:
    return engines["django"].from_string(template).render(context)


def test_notice_interrupts_a_screen_reader_only_for_errors() -> None:
    roles = [re.findall(r'role="(\w+)"', rendered(f"{{% notice '{tone}' %}}x{{% endnotice %}}")) for tone in TONES]
    assert dict(zip(TONES, roles, strict=True)) == {"": [], "warn": [], "ok": ["status"], "err": ["alert"]}


def test_what_is_copied_stays_text() -> None:
    html = rendered("{% copy_button text 'ID' %}", text='"><script>')
    assert ('data-copy-text="&quot;&gt;&lt;script&gt;"' in html, "<script>" in html) == (True, False)


def test_initial_of_a_person() -> None:
    assert [initial(name) for name in ("山田 花子", "hanako", "が", "")] == ["山", "H", "が", ""]


def test_memo_remembers_by_language_and_values_and_nothing_else() -> None:
    template = engines["django"].from_string("{% memo a %}{{ a }}{{ b }}{% endmemo %}")
    ja = [template.render({"a": a, "b": b}) for a, b in ((1, "x"), (1, "y"), (2, "z"))]
    with translation.override("en"):
        en = template.render({"a": 1, "b": "w"})
    assert (ja, en) == (["1x", "1x", "2z"], "1w")


def test_an_entry_of_the_menu_is_current_on_its_page_and_on_those_under_it() -> None:
    request = RequestFactory().get("/jobs/new/")
    request.resolver_match = resolve("/jobs/new/")
    entries = (("jobs:list", ""), ("jobs:list", "jobs:"), ("jobs:new", ""), ("home:help", "catalog:,datasets:"))
    current = [
        "aria-current" in rendered(f"{{% nav_item '{name}' 'x' 'gpu' under='{under}' %}}", request=request)
        for name, under in entries
    ]
    assert current == [False, True, True, False]


def test_an_entry_for_a_page_that_does_not_exist_is_nothing() -> None:
    assert rendered("{% nav_item 'no:page' 'x' 'gpu' %}{% palette_item 'no:page' 'x' 'gpu' %}") == ""
