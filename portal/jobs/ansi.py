"""Lines of a job's output as harmless HTML: colours become a closed list of classes, every other escape is dropped."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

# One pattern for all that a terminal would swallow; each part ends at the next ESC, so no input makes it slow.
_ESCAPE = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])"  # CSI: colours (final "m"), cursor, erase
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS and other strings: titles, links, images
    r"|\x1b[ -/]*[0-~]?"  # two-character escapes, and an ESC cut off at the end
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # tab stays; direction overrides go

_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_STYLES = {1: "a-bold", 2: "a-dim", 3: "a-italic", 4: "a-underline"}
_ENDS = {22: ("a-bold", "a-dim"), 23: ("a-italic",), 24: ("a-underline",)}


def line_html(text: str) -> SafeString:
    """One line, without its newline. A line redrawn with carriage returns (progress bars) shows its last drawing."""
    text = text.rstrip("\r").rpartition("\r")[2]
    if "\x1b" not in text:
        return mark_safe(escape(_CONTROLS.sub("", text)))  # noqa: S308 - escaped
    pieces: list[str] = []
    styles: set[str] = set()
    colour = ""
    end = 0
    for found in _ESCAPE.finditer(text):
        pieces.append(_span(text[end : found.start()], styles, colour))
        end = found.end()
        if found["final"] == "m":
            colour = _apply(found["parameters"], styles, colour)
    pieces.append(_span(text[end:], styles, colour))
    return mark_safe("".join(pieces))  # noqa: S308 - every piece is escaped


def _span(text: str, styles: set[str], colour: str) -> str:
    shown = escape(_CONTROLS.sub("", text))
    classes = " ".join([*sorted(styles), *([colour] if colour else [])])
    return f'<span class="{classes}">{shown}</span>' if shown and classes else str(shown)


def _apply(parameters: str, styles: set[str], colour: str) -> str:
    """Follow one SGR sequence: changes `styles`, answers the colour. Backgrounds and palettes have no class."""
    codes = [int(code) if code.isdecimal() and len(code) < 4 else 0 for code in parameters.replace(":", ";").split(";")]
    while codes:
        code = codes.pop(0)
        if code == 0:
            styles.clear()
            colour = ""
        elif code in _STYLES:
            styles.add(_STYLES[code])
        elif code in _ENDS:
            styles.difference_update(_ENDS[code])
        elif 30 <= code <= 37 or 90 <= code <= 97:
            colour = f"a-{_COLOURS[code % 10]}"
        elif code == 39:
            colour = ""
        elif code in (38, 48, 58) and codes:
            del codes[: {5: 2, 2: 4}.get(codes[0], 1)]
    return colour
