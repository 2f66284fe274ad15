"""Small pieces of every page as tags: icons, badges, marks, buttons. Built in: no {% load %} is needed.

Larger pieces are templates in templates/components/, listed at the top of templates/base.html.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django import template
from django.forms import BaseForm
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

register = template.Library()


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """`{% icon "gpu" %}` is 20 px, `{% icon "gpu" "s" %}` 16 px. Names: the symbols of static/img/icons.svg."""
    return _icon(name, size)


@lru_cache(maxsize=256)  # pages show the same few icons hundreds of times; names come from templates and tables
def _icon(name: str, size: str) -> SafeString:
    return format_html(
        '<svg class="i{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f" {size}" if size else "",
        static("img/icons.svg"),
        name,
    )


@register.simple_tag
def badge(label: Any, tone: str = "", icon: str = "") -> SafeString:
    """`{% badge _("Full") "warn" "warn" %}`. Tones: "" ok warn err run run-static plain; no icon is plain."""
    classes = " ".join(c for c in ("badge", tone, "" if icon or tone == "plain" else "plain") if c)
    return format_html('<span class="{}">{}{}</span>', classes, _icon(icon, "s") if icon else "", label)


@register.simple_tag
def state_badge(state: Any) -> SafeString:
    """A state with .label, and .badge and .icon on itself or on its .face."""
    face = getattr(state, "face", state)
    return badge(state.label, face.badge, face.icon)


_MARKS = {
    "kddi": ('<rect width="18" height="18" rx="4" fill="currentColor"/>', "13", "K"),
    "sakura": ('<circle cx="9" cy="9" r="9" fill="currentColor"/>', "13", "S"),
    "highreso": ('<path d="M9 0l9 9-9 9-9-9z" fill="currentColor"/>', "12.7", "H"),
}


@register.simple_tag
def provider_mark(slug: str, name: Any = "") -> SafeString:
    """Shape, letter and name, never colour alone. An unknown provider gets a square with its initial."""
    fallback = ('<rect width="18" height="18" rx="4" fill="currentColor"/>', "13", str(name or slug)[:1].upper())
    shape, baseline, letter = _MARKS.get(slug, fallback)
    return format_html(
        '<span class="prov {}"><svg viewBox="0 0 18 18" aria-hidden="true">{}'
        '<text class="pl" x="9" y="{}" text-anchor="middle">{}</text></svg>{}</span>',
        slug if slug in _MARKS else "other",
        SafeString(shape),
        baseline,
        letter,
        name,
    )


@register.simple_tag
def copy_button(text: Any, label: Any = "") -> SafeString:
    """Icon button that copies `text`; needs script and is hidden without it. `label` names what is copied."""
    return format_html(
        '<button class="btn icon sm needs-js" type="button" data-copy-text="{}" aria-label="{}">{}</button>',
        text,
        label or _("Copy"),
        _icon("copy", "s"),
    )


@register.simple_block_tag
def notice(content: str, tone: str = "", icon: str = "", id: str = "") -> SafeString:
    """`{% notice "warn" %}<p>…</p>{% endnotice %}`. Tones: "" ok warn err. Only errors interrupt a screen reader."""
    return format_html(
        '<div class="notice{}"{}{}>{}<div>{}</div></div>',
        f" {tone}" if tone else "",
        format_html(' role="{}"', "alert" if tone == "err" else "status") if tone in ("ok", "err") else "",
        format_html(' id="{}"', id) if id else "",
        _icon(icon or {"": "info"}.get(tone, tone), ""),
        content,
    )


@register.simple_tag
def error_summary(form: BaseForm) -> SafeString:
    """At the top of a form that was sent back: how many errors, each a link to its field. Empty when there are none."""
    if not form.is_bound or not form.errors:
        return SafeString("")
    general = list(form.non_field_errors())
    fields = [(bound.id_for_label or bound.auto_id, bound.label, error) for bound in form for error in bound.errors]
    count = len(general) + len(fields)
    title = ngettext(
        "Check what you entered (%(count)d problem)", "Check what you entered (%(count)d problems)", count
    ) % {"count": count}
    return SafeString(
        render_to_string("components/error_summary.html", {"title": title, "general": general, "fields": fields})
    )


@register.filter
def initial(person: Any) -> str:
    """The first character of a name, for the round account mark."""
    return Truncator(str(person)).chars(1, truncate="").upper()


@register.tag
def memo(parser: template.base.Parser, token: template.base.Token) -> template.Node:
    """`{% memo a b %}…{% endmemo %}`: rendered once per process for each language and all values of the expressions.
    What is inside may depend on nothing else: no CSRF token, no person, no time. Values must be hashable."""
    keys = [parser.compile_filter(word) for word in token.split_contents()[1:]]
    nodes = parser.parse(("endmemo",))
    parser.delete_first_token()
    return _Memo(nodes, keys)


class _Memo(template.Node):
    MOST = 500_000  # letters, a megabyte in Japanese; then it begins anew

    def __init__(self, nodelist: template.NodeList, keys: list[template.base.FilterExpression]) -> None:
        self.nodelist, self.keys = nodelist, keys
        self.known: dict[tuple[Any, ...], SafeString] = {}
        self.letters = 0

    def render(self, context: template.Context) -> SafeString:
        key = (get_language(), *(key.resolve(context, ignore_failures=True) for key in self.keys))
        html = self.known.get(key)
        if html is None:
            html = self.nodelist.render(context)
            if self.letters > self.MOST:
                self.known, self.letters = {}, 0
            self.known[key] = html
            self.letters += len(html)
        return html


_COUNT = '<span class="n"><span aria-hidden="true">{}</span><span class="vh">{}</span></span>'


@register.simple_tag(takes_context=True)
def nav_item(
    context: template.Context,
    url_name: str,
    label: Any,
    icon: str,
    *,
    under: str = "",
    count: Any = None,
    counted: Any = "",
) -> SafeString:
    """A link of the side menu, or nothing while that page does not exist. Current on `url_name` and on every view whose
    name starts with one of the comma-separated `under`. `count` is shown beside it, spoken as `counted`."""
    url = _url(url_name)
    if not url:
        return SafeString("")
    return format_html(
        '<a href="{}"{}>{}{}{}</a>',
        url,
        SafeString(' aria-current="page"') if _is_here(context, url_name, under) else "",
        _icon(icon, ""),
        label,
        format_html(_COUNT, count, counted) if count else "",
    )


@register.simple_tag
def palette_item(url_name: str, label: Any, icon: str, keywords: Any = "") -> SafeString:
    """An entry of the command palette, or nothing while that page does not exist. `keywords` are found when typed."""
    url = _url(url_name)
    if not url:
        return SafeString("")
    return format_html(
        '<div role="option" id="go-{}" aria-selected="false" data-href="{}" data-kana="{}">{}{}</div>',
        url_name.replace(":", "-"),
        url,
        keywords,
        _icon(icon, ""),
        label,
    )


@lru_cache(maxsize=256)  # names from templates only, and addresses without arguments never change
def _url(name: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""


def _is_here(context: template.Context, url_name: str, under: str) -> bool:
    match = getattr(context.get("request"), "resolver_match", None)
    if match is None:
        return False
    prefixes = tuple(p for p in under.split(",") if p)
    return match.view_name == url_name or bool(prefixes and match.view_name.startswith(prefixes))
