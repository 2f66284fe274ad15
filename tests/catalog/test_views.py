import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.accounts.models import Project, User
from portal.catalog import seed
from portal.catalog.choosing import Answers, Purpose
from portal.catalog.models import CapacityObservation, Offering, Provider, ProviderAccount
from portal.catalog.offers import Wish, offers
from tests.factories import ProviderAccountFactory

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


ONE_MORE = "Choose one more plan in the list above to see how they differ."
GONE = "Something to compare is not in the catalog, or no longer. The rest of what was chosen is compared."


def _boxes(html: str, mark: str) -> list[str]:
    return re.findall(rf'id="cmp-[^"]+" name="cmp" value="([^"]+)" form="filter" {mark}', html)


def test_up_to_four_are_compared_and_a_fifth_is_neither_ticked_nor_in_a_link(catalog: None, client: Client) -> None:
    four = ["dok-h100", "vrt-h100", "kddi-gb200", "soroban-cluster"]
    five = "&".join(f"cmp={s}" for s in (*four, "dok-v100"))
    response = client.get(f"/catalog/?{five}", headers={**FRAGMENT, "accept-language": "en"})
    html = response.content.decode()
    assert [row["offering"].slug for row in response.context["compared"]] == four
    assert (sorted(_boxes(html, "checked")), "dok-v100" in _boxes(html, "disabled")) == (sorted(four), True)
    assert len(_boxes(html, "(?:checked|disabled)")) == response.context["all_count"]
    assert re.findall(r'id="cmp-most">.*?</svg>([^<]*)', html) == ["4 at most. Remove one to choose another."]
    assert "cmp=dok-v100" not in html


def test_what_a_filter_hides_stays_under_comparison(catalog: None, client: Client) -> None:
    page = client.get("/catalog/?provider=kddi&cmp=dok-h100&cmp=dok-v100").content.decode()
    kept = re.findall(r'<input type="hidden" id="cmp-kept-[^"]*" name="cmp" value="([^"]*)" form="filter">', page)
    assert kept == ["dok-h100", "dok-v100"]
    assert 'id="cmp-kept-' not in client.get("/catalog/?provider=sakura&cmp=dok-h100").content.decode()


def test_nothing_to_compare_shows_no_bar_but_a_button_for_those_without_script(catalog: None, client: Client) -> None:
    html = client.get("/catalog/", headers={"accept-language": "en"}).content.decode()
    assert ('class="cmpbar' in html, html.count('form="filter">Compare</button>')) == (False, 1)
    html = client.get("/catalog/?cmp=dok-h100", headers={"accept-language": "en"}).content.decode()
    assert ('class="cmpbar' in html, html.count('form="filter">Compare</button>')) == (True, 1)


def _prices(html: str) -> dict[str, tuple[str, str]]:
    price = r'<span class="price">([^<]+)</span><br><span class="sub per">[^<]+<br></span>'
    row = rf'id="offer-([^"]+)">.*?{price}<span class="sub">([^<]+)<'
    rows = re.findall(row, html, re.S)
    return {slug: (price, total.rsplit(" ", 1)[1]) for slug, price, total in rows}


def test_one_price_reads_the_same_in_list_comparison_and_csv_and_multiplies_to_the_total(
    catalog: None, client: Client
) -> None:
    html = client.get("/catalog/?cmp=dok-h100x8&cmp=dok-v100", headers={"accept-language": "en"}).content.decode()
    prices = _prices(html)
    assert (prices["dok-h100x8"], prices["dok-v100"]) == (("¥373.5", "¥71,712"), ("¥57.6", "¥1,382"))
    line = re.search(r"One GPU, one hour</th>(.*?)</tr>", html.split('id="cmp-t"')[1])
    assert line and re.findall(r"¥[\d,.]+", line[1]) == ["¥373.5", "¥57.6"]
    text = b"".join(client.get("/catalog/offers.csv?n=8&provider=sakura")).decode()
    assert [row.split(",")[6:8] for row in text.splitlines() if "H100×8（β）" in row] == [["373.50", "71712.00"]]


def test_prices_without_tax_keep_their_fraction_and_one_hour_of_one_gpu_is_the_unit_price(
    catalog: None, client: Client
) -> None:
    prices = _prices(client.get("/catalog/?tax=ex&h=1&n=1", headers={"accept-language": "en"}).content.decode())
    assert {slug: prices[slug] for slug in ("soroban-a4000", "dok-v100", "soroban-a100-40")} == {
        "soroban-a4000": ("¥45.45", "¥45.45"),
        "dok-v100": ("¥52.36", "¥52.36"),
        "soroban-a100-40": ("¥328.18", "¥328.18"),
    }


def test_each_price_has_its_unit_and_tax_beside_it(catalog: None, client: Client) -> None:
    """Narrow pages hide the head of the table."""
    units = {
        tax: re.findall(
            r'<span class="price">[^<]+</span><br><span class="sub per">([^<]+)<',
            client.get(f"/catalog/?tax={tax}", headers={"accept-language": "en"}).content.decode(),
        )
        for tax in ("in", "ex")
    }
    assert units["in"] and set(units["in"]) == {"per GPU and hour (tax incl.)"}
    assert units["ex"] == ["per GPU and hour (tax excl.)"] * len(units["in"])


@pytest.mark.parametrize(
    ("language", "published", "made_up"),
    [
        (
            "ja",
            "2026-10-03時点・出典: 高火力 DOKの料金ページ（第三者の記載による）",
            "2026-11-23時点・出典: デモ用の仮の値",
        ),
        (
            "en",
            "As of 2026-10-03, source: Koukaryoku DOK price page, read by third parties",
            "As of 2026-11-23, source: Made up for the demo",
        ),
    ],
)
def test_every_price_has_its_date_and_source_in_the_reader_s_language(
    catalog: None, client: Client, language: str, published: str, made_up: str
) -> None:
    html = client.get("/catalog/", headers={"accept-language": language}).content.decode()
    shown = dict(re.findall(r'id="offer-([^"]+)">.*?<div class="src">([^<]+)</div>', html, re.S))
    assert (len(shown), shown["dok-h100"], shown["demo-gb200"]) == (html.count('class="offer"'), published, made_up)
    text = b"".join(client.get("/catalog/offers.csv", headers={"accept-language": language})).decode()
    assert published.split(": ")[1].split(",")[0] in text


def test_csv_has_every_row_of_the_filter(catalog: None, client: Client) -> None:
    response = client.get("/catalog/offers.csv?gpu=B200", headers={"accept-language": "ja"})
    lines = b"".join(response).decode("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert lines[1].split(",")[:4] == ["さくらインターネット", "高火力 PHY B200×8", "ベアメタル", "B200"]


def test_csv_says_nothing_of_tax_where_there_is_no_price(catalog: None, client: Client) -> None:
    response = client.get("/catalog/offers.csv?gpu=GB200", headers={"accept-language": "en"})
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode("utf-8-sig"))))
    told = {row["Offering"]: (row["One GPU, one hour (yen)"] != "", row["Tax"]) for row in rows}
    assert set(told.values()) == {(True, "tax incl."), (False, "")}


@pytest.mark.parametrize(
    ("query", "compared", "sentences"),
    [
        ("cmp=dok-h100", ["dok-h100"], [ONE_MORE]),
        ("cmp=dok-h100&diff=1", ["dok-h100"], [ONE_MORE]),
        ("cmp=gone", [], [GONE]),
        ("cmp=dok-h100&cmp=gone", ["dok-h100"], [GONE, ONE_MORE]),
        ("cmp=gone&cmp=dok-h100&cmp=dok-v100", ["dok-h100", "dok-v100"], [GONE]),
        ("cmp=dok-h100&cmp=dok-v100", ["dok-h100", "dok-v100"], []),
    ],
)
def test_a_comparison_of_one_or_of_what_is_gone_says_so(
    catalog: None, client: Client, query: str, compared: list[str], sentences: list[str]
) -> None:
    response = client.get(f"/catalog/?{query}", headers={**FRAGMENT, "accept-language": "en"})
    page = response.content.decode()
    assert [row["offering"].slug for row in response.context["compared"]] == compared
    assert [sentence for sentence in (GONE, ONE_MORE) if sentence in page] == sentences


def test_csv_of_the_comparison_has_the_compared_plans_and_what_the_page_says_of_them(
    catalog: None, client: Client
) -> None:
    english = {"accept-language": "en"}
    html = client.get("/catalog/?cmp=dok-h100&cmp=soroban-cluster", headers=english).content.decode()
    url = unescape(re.search(r'id="cmp-h".*?href="(/catalog/offers.csv[^"]*)"', html, re.S)[1])
    rows = list(csv.DictReader(io.StringIO(b"".join(client.get(url, headers=english)).decode("utf-8-sig"))))
    assert [(row["Offering"], row["Charged by"], row["CPU"]) for row in rows] == [
        ("Koukaryoku DOK H100", "by the second (60 seconds at least)", "x86_64"),
        (
            "GPUSOROBAN compute cluster",
            "by the second, as part of the price per minute (To be confirmed)",
            "x86_64 (To be confirmed)",
        ),
    ]


def test_who_may_not_create_jobs_is_not_offered_to(
    catalog: None, client: Client, viewer: User, member: User, client_of: Callable[..., Client]
) -> None:
    ProviderAccountFactory(provider=Provider.objects.get(slug="sakura"))
    create = 'href="/jobs/new/?offering='
    pages = [one.get("/catalog/").content.decode() for one in (client_of(viewer), client_of(member), client)]
    assert [create in page for page in pages] == [False, True, True]


def test_what_a_provider_said_before_it_fell_silent_is_not_shown_as_live(catalog: None, client: Client) -> None:
    offering = Offering.objects.get(slug="demo-gb200")
    CapacityObservation.objects.create(offering=offering, state="available", free_gpus=72, source="slurm_rest")
    account = ProviderAccountFactory(provider=offering.provider, kind="slurm_rest")
    states = []
    for failing_since in (None, timezone.now()):
        type(account).objects.update(failing_since=failing_since)
        states.append(next(o.state for o in offers(Wish()) if o.offering == offering))
    assert states == ["available", "unknown"]


def test_statements_stay_the_same_for_any_number_of_offerings(
    catalog: None, owner: User, client_of: Callable[..., Client], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_of(owner)
    with django_assert_max_num_queries(10) as few:
        client.get("/catalog/?gpu=GB200")
    with django_assert_max_num_queries(10) as many:
        client.get("/catalog/")
    assert len(few) == len(many)


def test_availability_that_nobody_has_looked_at_lately_is_not_shown_as_it_was(catalog: None, client: Client) -> None:
    offering = Offering.objects.get(slug="demo-gb200")
    ProviderAccountFactory(provider=offering.provider, kind="slurm_rest")
    seen = CapacityObservation.objects.create(offering=offering, state="available", free_gpus=40, source="test")
    shown = []
    for minutes in (4, 6):
        CapacityObservation.objects.filter(pk=seen.pk).update(observed_at=timezone.now() - timedelta(minutes=minutes))
        cache.clear()
        page = client.get("/catalog/?gpu=GB200").content.decode()
        shown.append(["空き40枚" in page, "空き状況: " in page, _names(client, "?now=1") != []])
    assert shown == [[True, True, True], [False, False, False]]


def _choose(client: Client, query: str) -> Any:
    return client.get(f"/catalog/choose/?{query}", headers={"accept-language": "en"})


def test_the_choice_asks_five_questions_and_keeps_the_answers_in_the_url(catalog: None, client: Client) -> None:
    page = _choose(client, "").content.decode()
    asked = re.findall(r'<(?:select|input)[^>]* name="(\w+)"', page.split('action="/catalog/choose/"')[1])
    assert (asked[:5], "Why not the others" in page) == (["purpose", "size", "budget", "deadline", "place"], False)
    response = _choose(client, "purpose=lora&size=8000&budget=%EF%BF%A51%2C000%2C000&deadline=720&place=highreso")
    assert response.context["answers"] == Answers(Purpose.LORA, 8_000, 1_000_000, 720, "highreso")
    page = response.content.decode()
    assert ('value="lora" selected' in page, 'value="highreso" selected' in page) == (True, True)


def test_each_answer_leads_to_the_job_form_or_to_the_plan_in_the_catalog(
    catalog: None, client: Client, viewer: User, client_of: Callable[..., Client]
) -> None:
    ProviderAccountFactory(provider=Provider.objects.get(slug="sakura"))
    query = "purpose=lora&size=8000&place=sakura"
    response = _choose(client, query)
    urls = {str(pick["way"]): pick["url"] for pick in response.context["picks"]}
    assert urls["Cheapest"] == "/jobs/new/?offering=dok-h100x8&gpus=8"
    ProviderAccount.objects.update(active=False)
    response = _choose(client, query)
    urls = {str(pick["way"]): pick["url"] for pick in response.context["picks"]}
    assert urls["Cheapest"] == "/catalog/?cmp=dok-h100x8#offer-dok-h100x8"
    ProviderAccount.objects.update(active=True)
    seen = client_of(viewer).get("/catalog/choose/?purpose=lora&size=8000&place=sakura")
    assert not any("/jobs/new/" in pick["url"] for pick in seen.context["picks"])


def test_a_price_that_nobody_confirmed_says_so_in_the_choice(catalog: None, client: Client) -> None:
    response = _choose(client, "purpose=lora&size=8000")
    page = response.content.decode()
    unconfirmed = [pick for pick in response.context["picks"] if not pick["is_confirmed"]]
    others = [offer for offer, _why in response.context["choice"].others if not offer.is_confirmed]
    assert unconfirmed or others
    assert page.count(">To be confirmed</span>") == len(unconfirmed) + len(others)


def test_the_rule_and_its_sources_stand_on_the_page(catalog: None, client: Client) -> None:
    page = _choose(client, "purpose=infer&size=70000").content.decode()
    assert (
        "<b>168 GB</b> = 70B × 2.4 bytes for each parameter: 2 bytes for the 16-bit weights, and a fifth more" in page
    )
    assert "EleutherAI, Transformer Math 101, 2023" in page and "H100 989 TFLOPS" in page


@pytest.mark.parametrize(
    ("query", "sentences"),
    [
        ("purpose=&size=8000", ["Choose what it is for."]),
        ("purpose=lora&size=9", ["Choose the size of the model."]),
        ("purpose=lora&size=8000&budget=0", ["Enter whole yen from 1 to 999,999,999, or leave it empty."]),
        ("purpose=lora&size=8000&budget=%00", []),
    ],
)
def test_answers_that_are_none_are_asked_for_again(
    catalog: None, client: Client, query: str, sentences: list[str]
) -> None:
    response = _choose(client, query)
    assert (response.status_code, "choice" in response.context) == (422, False)
    assert [sentence for sentence in sentences if sentence in response.content.decode()] == sentences


def test_impossible_answers_name_the_one_in_the_way(catalog: None, client: Client) -> None:
    page = _choose(client, "purpose=lora&size=8000&budget=1").content.decode()
    assert "No plan fits all answers" in page and "The budget is too small. The nearest that works is" in page


@pytest.mark.parametrize("query", ["", "purpose=lora&size=8000", "purpose=train&size=405000&budget=1&deadline=8"])
def test_the_choice_takes_few_statements(
    catalog: None, client: Client, query: str, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(5):
        _choose(client, query)


def test_catalog_landing_page_and_job_form_lead_to_the_choice(
    catalog: None, client: Client, member: User, project: Project, client_of: Callable[..., Client]
) -> None:
    ProviderAccountFactory(provider=Provider.objects.get(slug="sakura"))
    pages = [client.get("/catalog/"), client.get("/"), client_of(member).get("/jobs/new/?template=empty")]
    assert ['href="/catalog/choose/"' in page.content.decode() for page in pages] == [True] * 3
