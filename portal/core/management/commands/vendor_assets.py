"""Files of other projects that we ship: fetched again by npm, or compared with their checksums."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

MANIFESTS = ("static/vendor/VENDOR.toml", "tests/browser/vendor/VENDOR.toml")


@dataclass(frozen=True)
class Asset:
    folder: Path  # where VENDOR.toml is
    package: str
    version: str
    licence: str
    path: str  # in the folder
    source: str  # in the package
    sha256: str

    @property
    def file(self) -> Path:
        return self.folder / self.path


class Command(BaseCommand):
    help = "Fetches the vendored files again with npm. With --check: only compares them with their SHA-256."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        found = assets(Path(settings.BASE_DIR))
        if not check:
            fetch(found)
        if wrong := [asset.path for asset in found if not is_intact(asset)]:
            raise CommandError(f"Not what VENDOR.toml says: {', '.join(wrong)}")
        self.stdout.write(f"{len(found)} vendored files are intact.")


def assets(root: Path) -> list[Asset]:
    found = []
    for manifest in (root / name for name in MANIFESTS):
        entries = tomllib.loads(manifest.read_text())["file"]
        found += [Asset(folder=manifest.parent, **entry) for entry in entries]
    return found


def is_intact(asset: Asset) -> bool:
    return asset.file.is_file() and hashlib.sha256(asset.file.read_bytes()).hexdigest() == asset.sha256


def fetch(found: list[Asset]) -> None:
    by_package: dict[str, list[Asset]] = defaultdict(list)
    for asset in found:
        by_package[f"{asset.package}@{asset.version}"].append(asset)
    for package, wanted in by_package.items():
        with tempfile.TemporaryDirectory() as folder:
            packed = subprocess.run(
                ["npm", "pack", "--silent", package],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
                archive.extractall(folder, filter="data")
            for asset in wanted:
                asset.file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(folder) / "package" / asset.source, asset.file)
