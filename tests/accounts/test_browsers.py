import pytest
from django.utils import translation

from portal.accounts.templatetags.browsers import browser_name

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/141.0.0.0 Safari/537.36", "Chrome・Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/141.0.0.0 Safari/537.36", "Chrome・Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/141.0 Safari/537.36 Edg/141.0", "Edge・Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/141.0 Safari/537.36 OPR/125.0", "Opera・Windows"),
        ("Mozilla/5.0 (Windows NT 10.0; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox・Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/26.0 Safari/605.1.15", "Safari・Mac"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605 Safari/604.1", "Safari・iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) AppleWebKit/605 CriOS/141.0 Safari/604.1", "Chrome・iPad"),
        (f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {WEBKIT} Chrome/141.0 Mobile Safari/537.36", "Chrome・Android"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541) {WEBKIT} Chrome/141.0 Safari/537.36", "Chrome・ChromeOS"),
        ("curl/8.5.0", "curl"),
        ("Mozilla/5.0", "不明なブラウザー"),
        ("", "不明なブラウザー"),
        ("<script>alert(1)</script>", "不明なブラウザー"),
    ],
)
def test_a_browser_in_words(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


def test_in_english() -> None:
    with translation.override("en"):
        assert browser_name("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/145.0") == "Firefox on Linux"
