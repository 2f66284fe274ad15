"""One person in one browser, with one form that is sent again and again under new keys."""

from __future__ import annotations

import copy
import http.client
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape

import httpx

from tests.browser.conftest import Portal

BOUNDARY = "portal-bench"


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    code: str  # of the job it leads to


@dataclass(frozen=True)
class Sent:
    began_at: datetime
    took_ms: float
    code: str


class Client:
    """Signed in as an owner of the demo. Not to be shared by threads."""

    def __init__(self, portal: Portal, **fields: str) -> None:
        login = portal.logins()["owner"]
        browser = httpx.Client(base_url=portal.url, timeout=30)
        page = browser.get("/account/login/").text
        browser.post(
            "/account/login/",
            data={"csrfmiddlewaretoken": _token(page), "login": login["email"], "password": login["password"]},
        )
        page = browser.get("/jobs/new/?offering=dok-h100").text
        form = re.search(r'<form[^>]*action="/jobs/new/".*?</form>', page, re.S) or re.search(
            r'<form[^>]*enctype="multipart/form-data".*?</form>', page, re.S
        )
        assert form, "the job form was not found"
        self.fields = {**_fields(form.group(0)), "name": "bench", "command": "sleep 40", "image": "python:3.11-slim",
                       "offering": "dok-h100", "cost_cap": "17", **fields}  # fmt: skip
        self.fields["csrfmiddlewaretoken"] = _token(page)
        # What submits in a burst shares two cores with what it measures: http.client needs a tenth of httpx's time.
        self._cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self._where = (browser.base_url.host, browser.base_url.port)
        self._http = http.client.HTTPConnection(*self._where, timeout=30)

    def another(self) -> Client:
        """The same person, form and cookies on a connection of its own."""
        same = copy.copy(self)
        same._http = http.client.HTTPConnection(*self._where, timeout=30)
        return same

    def submit(self, key: str, **changed: str) -> Sent:
        """Raises OSError or HTTPException when there was no answer, Refused for any other than "created"."""
        began_at, clock = datetime.now(UTC), time.perf_counter()
        answer = self.send(key, **changed)
        took_ms = 1000 * (time.perf_counter() - clock)
        if answer.status != 302:
            raise Refused(answer.status, re.findall(r'id="error-summary".*?</ul>', answer.text, re.S))
        return Sent(began_at, took_ms, answer.code)

    def send(self, key: str, **changed: str) -> Answer:
        """Raises OSError or HTTPException when there was no answer."""
        parts = {**self.fields, "key": key, **changed}.items()
        body = "".join(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in parts)
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self._ask("POST", "/jobs/new/", f"{body}--{BOUNDARY}--\r\n".encode(), headers)

    def get(self, path: str) -> Answer:
        """Raises OSError or HTTPException when there was no answer."""
        return self._ask("GET", path, None, {})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        try:
            self._http.request(method, path, body, {"Cookie": self._cookies, **headers})
            answer = self._http.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise
        return Answer(answer.status, text, (answer.headers["location"] or "").rstrip("/").rsplit("/", 1)[-1])


class Refused(Exception):
    """The portal answered, and created no job."""


def _token(html: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', html)
    assert found
    return found.group(1)


def _fields(html: str) -> dict[str, str]:
    fields = {}
    for tag in re.findall(r"<input[^>]*>", html):
        name = re.search(r'name="([^"]+)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name and (" checked" in tag or not re.search(r'type="(radio|checkbox)"', tag)):
            fields[name.group(1)] = unescape(value.group(1)) if value else ""
    for name, text in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', html, re.S):
        fields[name] = unescape(text).removeprefix("\n")
    for name, inner in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', html, re.S):
        if chosen := re.search(r'value="([^"]*)"[^>]*selected', inner):
            fields[name] = unescape(chosen.group(1))
    return fields
