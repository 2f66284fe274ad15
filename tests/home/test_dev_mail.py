from pathlib import Path

import pytest
from django.core.mail import EmailMessage, get_connection
from django.test import Client


@pytest.fixture
def folder(settings: object, tmp_path: Path) -> Path:
    settings.EMAIL_FILE_PATH = tmp_path  # type: ignore[attr-defined]
    return tmp_path


def send(folder: Path, *mails: EmailMessage) -> None:
    get_connection("django.core.mail.backends.filebased.EmailBackend", file_path=folder).send_messages(mails)


def test_mails_are_listed_newest_first_and_shown(db: None, folder: Path) -> None:
    send(folder, EmailMessage("確認コード: ABCD", "コード\n\n    ABCD\n\nhttps://example.jp/x", None, ["a@example.jp"]))
    send(folder, *(EmailMessage(f"2-{n}", "<script>alert(1)</script>", None, ["b@example.jp"]) for n in "ab"))
    client = Client()
    page = client.get("/dev/mail/")
    mails = page.context["mails"]
    assert [(m.subject, m.to) for m in mails] == [
        ("2-b", "b@example.jp"),
        ("2-a", "b@example.jp"),
        ("確認コード: ABCD", "a@example.jp"),
    ]
    shown = client.get(f"/dev/mail/{mails[2].name}/").content.decode()
    assert "ABCD" in shown
    assert '<a href="https://example.jp/x"' in shown
    assert "<script>alert" not in client.get(f"/dev/mail/{mails[0].name}/").content.decode()


@pytest.mark.parametrize("zone", ["-0000", "+0000", "GMT"])
def test_the_time_of_a_mail_is_japans(db: None, folder: Path, zone: str) -> None:
    send(folder, EmailMessage("a", "b", None, ["a@example.jp"], headers={"Date": f"Tue, 24 Nov 2026 23:31:05 {zone}"}))
    client = Client(headers={"accept-language": "ja"})
    page = client.get("/dev/mail/")
    shown = client.get(f"/dev/mail/{page.context['mails'][0].name}/")
    assert [" 08:31" in answer.content.decode() for answer in (page, shown)] == [True, True]
    assert ["23:31" in answer.content.decode() for answer in (page, shown)] == [False, False]


def test_no_name_leads_out_of_the_folder(db: None, folder: Path) -> None:
    for name in ("..%2f..%2fetc%2fpasswd", "x", "%00", "-1"):
        assert Client().get(f"/dev/mail/{name}/").status_code == 404


def test_empty_missing_and_broken_folders(db: None, folder: Path, settings: object) -> None:
    (folder / "broken.log").write_bytes(b"\xff\xfe\x00 no mail" + b"-" * 79)
    assert Client().get("/dev/mail/").status_code == 200
    settings.EMAIL_FILE_PATH = folder / "none"  # type: ignore[attr-defined]
    assert Client().get("/dev/mail/").context["mails"] == []


def test_not_there_in_production(db: None, folder: Path, settings: object) -> None:
    settings.PRODUCTION = True  # type: ignore[attr-defined]
    assert Client().get("/dev/mail/").status_code == 404
