"""static/js/portal.js with the vendored htmx in a real Chromium, under the real policy, against a small server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, expect

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'"
STATIC = Path(settings.BASE_DIR) / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Site:
    """Answers are (status, headers, body), by "METHOD path"; each is a list whose last entry repeats."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, str], str]]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []

    def page(self, body: str) -> None:
        head = Path(settings.BASE_DIR, "templates/shell.html").read_text()
        config = next(line for line in head.splitlines() if "htmx-config" in line)
        self.answers["GET /"] = [
            (
                200,
                {},
                f"""<!doctype html><html lang="ja" data-theme="light"><head><title>t</title>{config}
                <script src="/static/js/portal.js" defer></script>
                <script src="/static/vendor/htmx.org/dist/htmx.min.js" defer></script></head>
                <body>{body}<div id="live"></div><div id="toast"></div>
                <template id="portal-texts" data-failed="failed" data-denied="denied" data-found="found {{n}}"
                 data-copied="copied" data-copy-failed="not copied"></template></body></html>""",
            )
        ]


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    known = Site()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(self.path.split("?")[0])
            if path.startswith("/static/"):
                file = STATIC / path.removeprefix("/static/")
                status, headers, body = 200, {"Content-Type": TYPES[file.suffix]}, file.read_text()
            else:
                known.seen.append((f"{self.command} {path}", dict(self.headers)))
                answers = known.answers.get(f"{self.command} {path}", [(404, {}, "none")])
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", **headers}
            data = b"" if status in (204, 304) else body.encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Security-Policy": POLICY, "Content-Length": str(len(data))}.items():
                if not (status == 304 and name == "Content-Length"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield known, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda m: problems.append(m.text) if "Content Security Policy" in m.text else None)
    yield opened
    assert problems == []
    context.close()


def test_poll_sends_the_version_keeps_what_it_has_on_304_and_ends_with_the_last_fragment(
    site: tuple[Site, str], page: Page
) -> None:
    known, url = site
    poll = '<b id="s" hx-get="/s" hx-trigger="every 1s" hx-swap="outerMorph" hx-ptag="{}" data-quiet>{}</b>'
    known.page(poll.format("v1", "queued"))
    known.answers["GET /s"] = [
        (304, {"HX-PTag": "v1"}, ""),
        (200, {"HX-PTag": "v2"}, poll.format("v2", "running")),
        (304, {"HX-PTag": "v2"}, ""),
        (200, {}, '<b id="s">done</b>'),
    ]
    page.goto(url)
    page.wait_for_selector("b:text('done')")
    page.wait_for_timeout(2400)  # it would have asked twice more
    polls = [headers for what, headers in known.seen if what == "GET /s"]
    assert [h.get("HX-PTag") for h in polls] == ["v1", "v1", "v2", "v2"]
    assert {(h["HX-Request"], h["HX-Request-Type"], h["HX-Target"]) for h in polls} == {("true", "partial", "b#s")}


def test_form_sent_back_as_422_is_swapped_and_focus_moves_to_its_errors(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    form = (
        '<form id="f" hx-post="/f" hx-target="this" hx-swap="outerMorph">{}'
        '<input id="n" name="n"><button>go</button></form>'
    )
    known.page(form.format(""))
    known.answers["POST /f"] = [(422, {}, form.format('<p id="e" data-focus data-say="1 problem">Enter n</p>'))]
    page.goto(url)
    page.fill("#n", "typed")
    page.click("button")
    page.wait_for_selector("#e")
    assert page.evaluate("[document.activeElement.id, document.querySelector('#n').value]") == ["e", "typed"]
    expect(page.locator("#live")).to_have_text("1 problem")


@pytest.mark.parametrize(("status", "toast"), [(500, "failed"), (403, "denied"), (404, "denied")])
def test_error_page_never_lands_in_a_corner_of_this_one(
    site: tuple[Site, str], page: Page, status: int, toast: str
) -> None:
    known, url = site
    known.page('<div id="x">kept</div><button hx-get="/x" hx-target="#x">go</button>')
    known.answers["GET /x"] = [(status, {}, "<h1>error page</h1>")]
    page.goto(url)
    page.click("button")
    page.wait_for_selector(f"#toast > div:text('{toast}')")
    assert page.text_content("#x") == "kept"


def test_redirect_header_takes_the_whole_page_along(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page('<div id="x">kept</div><button hx-post="/x" hx-target="#x">go</button>')
    known.answers["POST /x"] = [(204, {"HX-Redirect": "/login"}, "")]
    known.answers["GET /login"] = [(200, {}, "<h1>sign in</h1>")]
    page.goto(url)
    page.click("button")
    page.wait_for_url("**/login")


def test_script_in_an_answer_does_not_run_even_from_our_own_host(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page('<div id="x"></div><button hx-get="/x" hx-target="#x">go</button>')
    known.answers["GET /x"] = [(200, {}, '<p>new</p><script src="/evil.js"></script>')]
    page.goto(url)
    page.click("button")
    page.wait_for_selector("#x p")
    page.wait_for_timeout(100)
    assert [what for what, _ in known.seen if "evil" in what] == []
    assert page.locator("#x script").count() == 0


def test_open_details_and_typed_text_outlive_a_poll(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    poll = (
        '<div id="s" hx-get="/s" hx-trigger="every 100ms" hx-swap="outerMorph" data-quiet><i>{}</i>'
        '<details id="d"><summary>more</summary>m</details><input id="i"></div>'
    )
    known.page(poll.format(1))
    known.answers["GET /s"] = [(200, {}, poll.format(2))]
    page.goto(url)
    page.click("summary")
    page.fill("#i", "typed")
    page.wait_for_selector("i:text('2')")
    assert page.evaluate("[d.open, i.value, document.activeElement.id]") == [True, "typed", "i"]


def test_conversion_in_progress_sends_nothing_and_its_end_sends_once(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page('<input id="q" name="q" hx-get="/q" hx-trigger="input changed delay:20ms" hx-target="#x"><p id="x"></p>')
    known.answers["GET /q"] = [(200, {}, "found")]
    page.goto(url)
    page.focus("#q")
    keyboard = page.context.new_cdp_session(page)
    for text in ("に", "にほ", "にほん"):
        keyboard.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})
        page.wait_for_timeout(60)
    assert [what for what, _ in known.seen if what == "GET /q"] == []
    keyboard.send("Input.insertText", {"text": "日本"})
    page.wait_for_selector("#x:text('found')")
    page.wait_for_timeout(100)
    assert [what for what, _ in known.seen if what == "GET /q"] == ["GET /q"]


def test_log_search_folds_width_and_case_and_says_how_many(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page(
        '<button data-log="follow" aria-pressed="true">f</button><input id="log-q" data-slash>'
        '<ol id="log"><li>Step ＡＢＣ</li><li>step abc</li><li>other</li></ol>'
    )
    page.goto(url)
    page.keyboard.press("/")
    page.keyboard.type("ａbC")
    expect(page.locator("#live")).to_have_text("found 2")
    assert page.locator("#log li:visible").count() == 2


def test_the_last_lines_of_a_log_are_followed_to_their_end(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page(_log(first=1, last=100))
    known.answers["GET /lines"] = [
        (200, {}, f'{_foot("")}<ol id="log-lines" hx-swap-oob="beforeend">{_lines(101, 300)}</ol>')
    ]
    page.goto(url)
    page.wait_for_selector("[data-log=follow]", state="detached")  # it is over
    seen = page.eval_on_selector("#log", "log => [log.lastElementChild.lastElementChild.id, log.scrollTop > 3000]")
    assert seen == ["L300", True]
    assert page.eval_on_selector("#log", "log => log.scrollHeight - log.scrollTop - log.clientHeight") < 24


def test_a_link_to_a_line_shows_it_though_a_search_hides_it_or_the_page_has_it_not(
    site: tuple[Site, str], page: Page
) -> None:
    known, url = site
    known.page(_log(first=1, last=300))
    known.answers["GET /lines"] = [(204, {}, "")]
    page.goto(url)
    page.fill("#log-q", "line 7")
    assert page.is_hidden("#L123")
    page.evaluate("location.hash = '#L123'")
    page.wait_for_selector("#L123")
    top = page.eval_on_selector("#L123", "line => line.offsetTop - line.closest('#log').scrollTop")
    assert (page.input_value("#log-q"), page.is_visible("#L124"), 0 < top < 600) == ("", True, True)
    page.evaluate("location.hash = '#L9000'")
    page.wait_for_url("**/?line=9000#L9000")


def _log(*, first: int, last: int) -> str:
    return f"""<link rel="stylesheet" href="/static/css/portal.css"><script src="/static/js/joblog.js" defer></script>
        <button data-log="follow" aria-pressed="true">f</button><input id="log-q">
        <div class="log scroll" id="log"><ol id="log-lines">{_lines(first, last)}</ol></div>{_foot("/lines")}"""


def _lines(first: int, last: int) -> str:
    return "".join(f'<li id="L{n}"><span class="msg">line {n}</span></li>' for n in range(first, last + 1))


def _foot(address: str) -> str:
    polls = f' hx-get="{address}" hx-trigger="every 500ms" hx-swap="outerHTML" data-quiet' if address else ""
    return f'<div id="log-foot"{polls}>foot</div>'


def test_theme_is_kept_in_a_cookie_that_the_server_reads(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page('<form method="post" action="/theme"><button data-theme-toggle>t</button></form>')
    page.goto(url)
    page.click("button")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert [(c["name"], c["value"]) for c in page.context.cookies()] == [("theme", "dark")]
    assert [what for what, _ in known.seen if what.startswith("POST")] == []


def test_menu_closes_by_escape_and_by_a_click_elsewhere(site: tuple[Site, str], page: Page) -> None:
    known, url = site
    known.page('<details class="menu"><summary>m</summary><button type="button">a</button></details><p>elsewhere</p>')
    page.goto(url)
    page.click("summary")
    page.focus("details button")
    page.keyboard.press("Escape")
    assert page.evaluate("[document.querySelector('.menu').open, document.activeElement.tagName]") == [False, "SUMMARY"]
    page.click("summary")
    page.click("p")
    assert page.evaluate("document.querySelector('.menu').open") is False


def test_a_tick_beyond_the_most_is_taken_back_and_never_sent(site: tuple[Site, str], page: Page) -> None:
    boxes = "".join(f'<input type="checkbox" name="cmp" value="{n}" form="filter">' for n in range(3))
    site[0].page(
        '<form id="filter" hx-get="/list" hx-trigger="change" hx-target="#offers"></form>'
        f'<div id="offers" data-most="2" data-full="two at most">{boxes}</div>'
    )
    site[0].answers["GET /list"] = [(204, {}, "")]
    page.goto(site[1])
    for n in range(3):
        page.click(f'[value="{n}"]')
    expect(page.locator("#live")).to_have_text("two at most")
    assert page.eval_on_selector_all("[name=cmp]", "all => all.map((box) => box.checked)") == [True, True, False]
    assert [request for request, _ in site[0].seen if request == "GET /list"] == ["GET /list"] * 2


def test_what_is_folded_stands_on_paper(site: tuple[Site, str], page: Page) -> None:
    known, address = site
    known.page(
        """<table><tr><th><button data-expand="a" aria-expanded="false">A</button></th></tr>
        <tr data-parent="a" hidden id="below"><td>part of A</td></tr></table>"""
    )
    page.goto(address)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.is_visible("#below")
