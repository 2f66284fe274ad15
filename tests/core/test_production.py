"""Settings and the web process as production has them, each in a process of its own: nothing there is reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCTION = {
    "PORTAL_MODE": "production",
    "SECRET_KEY": "s" * 50,
    "CREDENTIALS_KEYS": "ZGVtby1vbmx5LWRlbW8tb25seS1kZW1vLW9ubHktMzI=",
    "INSTALLATION_ID": "test00",
    "PORTAL_URL": "https://portal.example.jp",
    "DATABASE_URL": os.environ["DATABASE_URL"],  # answers, and has no tables
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "a",
    "S3_SECRET_KEY": "b",
    "STORAGE_HOSTS": '[{"host": "127.0.0.1", "place": "nowhere", "source": "tests"}]',
    "EMAIL_URL": "smtp+tls://mail.example.jp",
    "DEFAULT_FROM_EMAIL": "portal@example.jp",
}


def run(code: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """None takes a variable away."""
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "portal.settings", **PRODUCTION, **changes}
    given = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, text=True, timeout=60)


def settings(*names: str, **changes: str | None) -> list[Any]:
    code = f"import json, portal.settings as s; print(json.dumps([getattr(s, n) for n in {list(names)!r}]))"
    done = run(code, **changes)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def refusal(**changes: str | None) -> str:
    done = run("import portal.settings", **changes)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1].removeprefix("django.core.exceptions.ImproperlyConfigured: ")


def test_a_store_that_nobody_says_is_in_japan_ends_the_start() -> None:
    abroad = {"S3_ENDPOINT": "https://s3.us-east-1.amazonaws.com", "STORAGE_HOSTS": None}
    sentence = (
        "S3_ENDPOINT: https://s3.us-east-1.amazonaws.com is on no list of stores in Japan, so no data may go there."
    )
    web, command = run("import portal.wsgi", **abroad), run(CHECK, **abroad)
    assert (web.returncode, sentence in web.stderr) == (1, True)
    assert (command.returncode, sentence in command.stderr) == (1, True)
    here = run("import portal.wsgi", STORAGE_HOSTS=None)  # loopback is for demos
    assert (here.returncode, "S3_ENDPOINT: http://127.0.0.1:1 is on no list" in here.stderr) == (1, True)


CHECK = "from django.core.management import execute_from_command_line as run; run(['manage.py', 'check'])"


def test_further_hosts_are_further_ones() -> None:
    assert settings("ALLOWED_HOSTS", ALLOWED_HOSTS=" www.example.jp , ,10.0.0.8") == [
        ["portal.example.jp", "www.example.jp", "10.0.0.8"]
    ]
    assert settings("ALLOWED_HOSTS", PORTAL_URL="https://[2001:db8::1]/") == [["[2001:db8::1]"]]


def test_machines_reach_the_portal_where_people_do_or_elsewhere_or_not_at_all() -> None:
    names = ("MACHINES_URL", "ALLOWED_HOSTS")
    assert settings(*names) == ["https://portal.example.jp", ["portal.example.jp"]]
    assert settings(*names, MACHINES_URL="none") == ["", ["portal.example.jp"]]
    assert settings(*names, MACHINES_URL="https://machines.example.jp/") == [
        "https://machines.example.jp", ["portal.example.jp", "machines.example.jp"],
    ]  # fmt: skip


MAIL = ("EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD", "EMAIL_USE_TLS", "EMAIL_USE_SSL")


def test_mail_server_by_address() -> None:
    assert settings(*MAIL, EMAIL_URL="smtps://a%40example.jp:p%2F%3Aw@mail.example.jp") == [
        "mail.example.jp", 465, "a@example.jp", "p/:w", False, True,
    ]  # fmt: skip
    assert settings(*MAIL, EMAIL_URL="smtp+tls://mail.example.jp") == ["mail.example.jp", 587, "", "", True, False]
    assert settings(*MAIL, EMAIL_URL="smtp://relay:2525") == ["relay", 2525, "", "", False, False]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DEFAULT_FROM_EMAIL", None, "Set DEFAULT_FROM_EMAIL (README.md, table of settings)."),
        ("EMAIL_URL", "mail.example.jp:25", "EMAIL_URL must be an address that begins with smtp:// or smtp+tls:// or smtps://."),
        ("EMAIL_URL", "smtp://mail:port", "EMAIL_URL must be an address that begins with smtp:// or smtp+tls:// or smtps://."),
        ("PORTAL_URL", "portal.example.jp", "PORTAL_URL must be an address that begins with http:// or https://."),
        ("PORTAL_URL", "https://[", "PORTAL_URL must be an address that begins with http:// or https://."),
        ("MACHINES_URL", "http://portal.example.jp", "MACHINES_URL must begin with https://, or be none."),
        ("MACHINES_URL", "portal.example.jp", "MACHINES_URL must be an address that begins with http:// or https://."),
        ("S3_ENDPOINT", "nonsense", "S3_ENDPOINT must be an address that begins with http:// or https://."),
        ("DATABASE_URL", "nonsense", "DATABASE_URL must begin with postgresql://."),
        ("DATABASE_URL", "postgresql://x:[@h/x", "DATABASE_URL cannot be read: are its parts percent-encoded?"),
        ("BROKER_URL", "nonsense", "BROKER_URL must begin with redis://, rediss://, redis+socket://, amqp:// or amqps://."),
        ("CACHE_URL", "nonsense", "CACHE_URL must begin with redis://, rediss:// or unix://."),
        ("PORTAL_MODE", "prod", "PORTAL_MODE must be demo, test or production."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name: str, value: str | None, words: str) -> None:
    assert refusal(**{name: value}) == words


ASK = """
import io, json, sys
from portal.wsgi import application
answers = []
for path, headers in json.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read()):
    said = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "127.0.0.1",
               "SERVER_PORT": "8000", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.input": io.BytesIO(),
               "wsgi.errors": sys.stderr,
               "wsgi.url_scheme": "http", "REMOTE_ADDR": "127.0.0.1", **headers}
    body = b"".join(application(environ, lambda status, headers: said.append((status, dict(headers)))))
    answers.append([int(said[0][0][:3]), said[0][1].get("Location", ""), body.decode(errors="replace")])
print(json.dumps(answers))
"""
BROWSER = {"HTTP_HOST": "portal.example.jp", "HTTP_X_FORWARDED_PROTO": "https"}


def ask(*requests: tuple[str, dict[str, str]], **changes: str | None) -> tuple[list[tuple[int, str, str]], list[str]]:
    """Status, redirect and body of each, and the lines of the log."""
    asked = f"import sys; sys.argv = ['', {json.dumps(requests)!r}]\n{ASK}"
    done = run(asked, **changes)
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout)], done.stderr.splitlines()


def test_probes_by_address_and_without_tls() -> None:
    kubelet = {"HTTP_HOST": "10.2.3.4:8000"}
    plain = BROWSER | {"HTTP_X_FORWARDED_PROTO": "http"}
    answers, _log = ask(("/healthz", kubelet), ("/readyz", kubelet), ("/help/", plain))

    assert answers[0] == (200, "", "ok\n")
    status, _location, parts = answers[1]
    assert (status, {name: part["ok"] for name, part in json.loads(parts).items()}) == (
        503,
        {"database": True, "storage": False, "broker": False, "cache": False, "workers": False},
    )
    assert answers[2] == (301, "https://portal.example.jp/help/", "")


def test_a_wrong_host_is_one_line() -> None:
    answers, log = ask(("/", {"HTTP_HOST": "scan.example", "HTTP_X_FORWARDED_PROTO": "https"}))

    assert answers[0][0] == 400
    lines = [json.loads(line) for line in log if "scan.example" in line]
    assert [line["event"] for line in lines] == [
        "Invalid HTTP_HOST header: 'scan.example'. You may need to add 'scan.example' to ALLOWED_HOSTS."
    ]
    assert not any("Traceback" in line for line in log)


def test_a_host_without_collected_files_still_has_pages_and_styles(tmp_path: Path) -> None:
    answers, log = ask(
        ("/nowhere", BROWSER),
        ("/catalog/", BROWSER),
        ("/static/css/portal.css", BROWSER),
        ("/", {**BROWSER, "HTTP_HOST": "scan.example"}),
        STATIC_ROOT=str(tmp_path),
    )

    assert [status for status, _location, _body in answers] == [404, 500, 200, 400]  # 500: no tables
    for page in (answers[0][2], answers[1][2], answers[3][2]):
        assert '<link rel="stylesheet" href="/static/css/portal.css">' in page
    assert len([line for line in log if "run manage.py collectstatic" in line]) == 1


@pytest.mark.parametrize(
    "sent", ["charset*=UTF-8''%00", "charset=idna", "charset=zlib", "charset*=nope''x", "boundary*=nope''x"]
)
def test_a_charset_that_is_none_changes_nothing(sent: str) -> None:
    form = {**BROWSER, "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "0"}
    answers, _log = ask(
        ("/help/", {**BROWSER, "CONTENT_TYPE": f"text/plain; {sent}", "QUERY_STRING": "a=%ff"}),
        ("/i18n/setlang/", {**form, "CONTENT_TYPE": f"multipart/form-data; {sent}"}),
    )
    assert [status for status, _location, _body in answers] == [200, 403]
    assert "<h1>" in answers[1][2]


def test_the_boundary_of_a_form_is_kept() -> None:
    from portal.core.requests import plain_content_type

    kept = "multipart/form-data; boundary=----WebKitFormBoundaryAaB03x"
    assert plain_content_type(kept) == kept
    assert plain_content_type('multipart/form-data; charset=x; boundary="a b"') == 'multipart/form-data; boundary="a b"'
    assert plain_content_type("application/json; charset=utf-8") == "application/json"
    assert plain_content_type("") == ""


def test_even_an_error_page_that_fails_is_a_page(monkeypatch: pytest.MonkeyPatch, rf: Any) -> None:
    from portal.core import error_pages

    monkeypatch.setattr(error_pages, "render_to_string", lambda *given: 1 / 0)
    answer = error_pages.error_page(rf.get("/"), 500)
    assert (answer.status_code, "ページを表示できませんでした" in answer.content.decode()) == (500, True)


def test_htmx_of_somebody_signed_out_may_name_any_page(client: Any, db: None) -> None:
    for page in ("http://[", "http://a:b:c@[::1", "//evil.example/", "\\\\evil.example"):
        answer = client.get("/jobs/", headers={"HX-Request": "true", "HX-Current-URL": page})
        assert (answer.status_code, answer["HX-Redirect"]) == (204, "/account/login/?next=%2F")
