import hashlib
import tomllib
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from portal.core.management.commands.vendor_assets import MANIFESTS, assets, is_intact

FOUND = assets(Path(settings.BASE_DIR))


@pytest.mark.parametrize("asset", FOUND, ids=lambda a: a.path)
def test_vendored_file_is_what_its_maker_published(asset) -> None:  # type: ignore[no-untyped-def]
    assert is_intact(asset)


def test_every_vendored_file_is_listed_and_every_package_has_its_licence() -> None:
    for manifest in (Path(settings.BASE_DIR) / name for name in MANIFESTS):
        on_disk = {
            str(p.relative_to(manifest.parent)) for p in manifest.parent.rglob("*") if p.is_file() and p != manifest
        }
        listed = tomllib.loads(manifest.read_text())["file"]
        assert {entry["path"] for entry in listed} == on_disk
        packages = {entry["package"] for entry in listed}
        assert {entry["package"] for entry in listed if entry["path"].endswith("LICENSE")} == packages


def test_check_names_the_file_that_was_changed(tmp_path: Path, settings: object) -> None:
    for name in MANIFESTS:
        (tmp_path / name).parent.mkdir(parents=True)
        digest = hashlib.sha256(b"good").hexdigest()
        (tmp_path / name).write_text(
            '[[file]]\npackage = "p"\nversion = "1"\nlicence = "MIT"\npath = "a.js"\nsource = "a.js"\n'
            f'sha256 = "{digest}"\n'
        )
        (tmp_path / name).with_name("a.js").write_bytes(b"good")
    settings.BASE_DIR = tmp_path  # type: ignore[attr-defined]
    call_command("vendor_assets", check=True)
    (tmp_path / MANIFESTS[0]).with_name("a.js").write_bytes(b"bad")
    with pytest.raises(CommandError, match=r"Not what VENDOR\.toml says: a\.js"):
        call_command("vendor_assets", check=True)


def test_pages_stay_light() -> None:
    """Goals of UX.md section 8, gzip: style sheets 15 KB, scripts 25 KB."""
    import gzip

    def weight(*patterns: str) -> int:
        root = Path(settings.BASE_DIR) / "static"
        return sum(len(gzip.compress(p.read_bytes(), 6)) for pattern in patterns for p in root.glob(pattern))

    # No page has more than one style sheet of its own.
    own = max(weight("css/jobs.css"), weight("css/preview.css"))
    styles = own + weight("css/portal.css", "css/tokens.css", "vendor/@digital-go-jp/design-tokens/dist/*.css")
    on_every_page = weight("js/portal.js", "vendor/htmx.org/dist/**/*.js")
    assert (styles <= 15_000, on_every_page <= 25_000) == (True, True)
