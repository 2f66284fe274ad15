"""The first page says what the reader can do, not what somebody else could."""

from collections.abc import Callable

from django.test import Client

from portal.accounts.models import Project, User
from tests.factories import JobFactory, ProjectFactory

SignIn = Callable[..., Client]


def page(client: Client) -> str:
    return client.get("/").content.decode()


def test_billing_is_told_of_money_and_whom_to_ask(
    billing: User, owner: User, project: Project, client_of: SignIn
) -> None:
    JobFactory(project=project, submitted_by=owner)
    html = page(client_of(billing))
    assert "あなたのロールは会計担当です。" in html
    assert f"担当: {owner}" in html
    assert [f'href="{url}"' in html for url in ("/usage/", "/usage/#budgets", "/usage/csv/", "/jobs/new/")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert "ジョブはまだありません" not in html


def test_an_empty_project_among_others_leads_to_their_jobs(owner: User, project: Project, client_of: SignIn) -> None:
    JobFactory(project=project, submitted_by=owner)
    second = ProjectFactory(organization=project.organization)
    client = client_of(owner)
    client.post("/switch/", {"organization": project.organization.code, "project": second.code})
    html = page(client)
    assert "このプロジェクトにはまだジョブがありません" in html
    assert 'href="/jobs/?project=all"' in html


def test_no_jobs_anywhere(owner: User, viewer: User, project: Project, client_of: SignIn) -> None:
    first, second = page(client_of(owner)), page(client_of(viewer))
    assert ["ジョブはまだありません" in html for html in (first, second)] == [True, True]
    assert ["最初のジョブを1分ほど" in html for html in (first, second)] == [True, False]
    assert 'href="/jobs/?project=all"' not in first
