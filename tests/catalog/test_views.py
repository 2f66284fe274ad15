import re
from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from portal.accounts.models import User
from portal.catalog import seed

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def catalog(db: None) -> None:
    seed.load(demo=True)


def _names(client: Client, query: str) -> list[str]:
    return re.findall(r'<tr class="offer" id="offer-([^"]+)"', client.get(f"/catalog/{query}").content.decode())


def test_the_catalog_is_open_to_everybody_in_both_languages(catalog: None, client: Client) -> None:
    ja = client.get("/catalog/", headers={"accept-language": "ja"}).content.decode()
    en = client.get("/catalog/", headers={"accept-language": "en"}).content.decode()
    assert "<h1>GPUを探す</h1>" in ja and "高火力 DOK H100" in ja and "要確認" in ja
    assert "<h1>Find GPUs</h1>" in en and "Koukaryoku DOK H100" in en and "To be confirmed" in en


def test_filters_come_from_the_url(catalog: None, client: Client) -> None:
    assert _names(client, "?gpu=GB200&sort=price") == ["demo-gb200", "kddi-gb200"]
    assert _names(client, "?n=8&provider=sakura&jobs=1") == []
    assert _names(client, "?n=8&provider=sakura") == ["dok-h100x8", "phy-h100x8", "phy-h200x8", "phy-b200x8"]
    assert _names(client, "?now=1") == []


@pytest.mark.parametrize(
    "query", ["?gpu=%00", "?n=999999999999999999999", "?h=-1", "?sort=';--", "?cmp=<script>", "?tax=9"]
)
def test_a_value_that_is_no_choice_is_no_filter(catalog: None, client: Client, query: str) -> None:
    assert (client.get(f"/catalog/{query}").status_code, len(_names(client, query))) == (200, len(_names(client, "")))


def test_htmx_gets_the_fragment_alone(catalog: None, client: Client) -> None:
    response = client.get("/catalog/?gpu=H100", headers=FRAGMENT)
    assert response.content.decode().lstrip().startswith('<div id="offers"')
    assert "HX-Request" in response["Vary"]


def test_up_to_four_are_compared_and_a_fifth_is_said_to_be_too_many(catalog: None, client: Client) -> None:
    five = "?" + "&".join(f"cmp={s}" for s in ("dok-h100", "vrt-h100", "kddi-gb200", "soroban-cluster", "dok-v100"))
    response = client.get(f"/catalog/{five}")
    assert [row["offering"].slug for row in response.context["compared"]] == [
        "dok-h100", "vrt-h100", "kddi-gb200", "soroban-cluster"
    ]  # fmt: skip
    assert response.context["too_many"] is True


def test_csv_has_every_row_of_the_filter(catalog: None, client: Client) -> None:
    response = client.get("/catalog/offers.csv?gpu=B200", headers={"accept-language": "ja"})
    lines = b"".join(response).decode("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert lines[1].split(",")[:4] == ["さくらインターネット", "高火力 PHY B200×8", "ベアメタル", "B200"]


def test_statements_stay_the_same_for_any_number_of_offerings(
    catalog: None, owner: User, client_of: Callable[..., Client], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_of(owner)
    with django_assert_max_num_queries(10) as few:
        client.get("/catalog/?gpu=GB200")
    with django_assert_max_num_queries(10) as many:
        client.get("/catalog/")
    assert len(few) == len(many)
