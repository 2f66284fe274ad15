from __future__ import annotations

from django.http import QueryDict

from portal.catalog.forms import CatalogFilter

DEFAULTS = {
    "gpu": [], "provider": "", "n": "", "h": "", "jobs": "", "now": "", "sort": "", "tax": "", "diff": "", "cmp": [],
}  # fmt: skip


def chosen(query: str) -> dict[str, object]:
    form = CatalogFilter(
        QueryDict(query), models=["H100", "V100"], providers=[("sakura", "さくら")], slugs=["dok-h100", "dok-v100"]
    )
    return form.chosen()


def test_what_is_not_chosen_is_at_its_default() -> None:
    assert chosen("") == DEFAULTS


def test_every_choice_is_in_the_address() -> None:
    query = "gpu=H100&gpu=V100&provider=sakura&n=8&h=168&jobs=on&now=1&sort=memory&tax=ex&diff=on&cmp=dok-v100"
    assert chosen(query) == {
        "gpu": ["H100", "V100"], "provider": "sakura", "n": "8", "h": "168", "jobs": True, "now": True,
        "sort": "memory", "tax": "ex", "diff": True, "cmp": ["dok-v100"],
    }  # fmt: skip


def test_a_value_that_does_not_exist_is_no_choice_and_spoils_no_other() -> None:
    query = "gpu=H100&gpu=X&provider=nobody&n=3&h=9999999999&sort=%00&tax=<b>&cmp=gone&now=1"
    assert chosen(query) == {**DEFAULTS, "now": True}
