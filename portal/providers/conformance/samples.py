"""The jobs that promises share: each is submitted once and looked at from many sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portal.providers.bootstrap import ManifestFile

if TYPE_CHECKING:
    from portal.providers.conformance.bench import Store

TEXT = "国産GPUで学ぶ。\nThe quick brown fox.\n".encode()
BINARY = bytes(range(256)) * 64
VALUE = "two  words, \"double\" and 'single', $HOME `id` \\n\t日本語\nsecond line; rm -rf /"
LONG_VALUE = "あ" * 20_000
LOG_BYTES = 3_000_000
OUTPUT_BYTES = 8_000_000


@dataclass(frozen=True)
class Input:
    path: str
    data: bytes = field(repr=False)
    told: bytes | None = field(default=None, repr=False)  # what the manifest says instead: another checksum
    missing: bool = False

    def stored(self, store: Store, key: str) -> ManifestFile:
        name = f"{key}/in-{hashlib.sha256(self.path.encode()).hexdigest()[:8]}"
        url = store.put(name, self.data)
        if self.missing:
            url = url.replace(name, f"{name}-gone")
        told = self.told if self.told is not None else self.data
        return ManifestFile(url, hashlib.sha256(told).hexdigest(), len(told), self.path)


@dataclass(frozen=True)
class Sample:
    command: str
    inputs: tuple[Input, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0  # 0: the target's


SAMPLES: dict[str, Sample] = {
    "good": Sample(
        'cat "$PORTAL_DATA_DIR/日本/語 1.txt"; echo "on stderr" >&2; sleep 2; '
        'cp "$PORTAL_DATA_DIR/日本/語 1.txt" "$PORTAL_OUTPUT_DIR/写し 1.txt"; mkdir "$PORTAL_OUTPUT_DIR/sub"; '
        'cp "$PORTAL_DATA_DIR/binary" "$PORTAL_OUTPUT_DIR/sub/binary"; ln -s /etc/hostname "$PORTAL_OUTPUT_DIR/link"',
        inputs=(Input("日本/語 1.txt", TEXT), Input("binary", BINARY)),
    ),
    "exits_3": Sample("echo 'no such model' >&2; echo part >\"$PORTAL_OUTPUT_DIR/part\"; exit 3"),
    "exits_95": Sample("exit 95"),
    "killed": Sample("kill -KILL $$"),
    "terminated": Sample("kill -TERM $$"),
    "not_there": Sample("/no/such/program"),
    "silent": Sample("true"),
    "values": Sample(
        'printf %s "$VALUE" >"$PORTAL_OUTPUT_DIR/value"; printf %s "$LONG_VALUE" | wc -c >"$PORTAL_OUTPUT_DIR/long"; '
        'printf %s "${PORTAL_MANIFEST_URL-none}" >"$PORTAL_OUTPUT_DIR/manifest"; '
        'printf %s "$PORTAL_JOB" >"$PORTAL_OUTPUT_DIR/job"; cat >"$PORTAL_OUTPUT_DIR/stdin"; '
        'pwd >"$PORTAL_OUTPUT_DIR/pwd"; echo x >here && rm here && echo yes >"$PORTAL_OUTPUT_DIR/writable"; '
        'stat -c %a . >"$PORTAL_OUTPUT_DIR/mode"',
        environment={"VALUE": VALUE, "LONG_VALUE": LONG_VALUE},
    ),
    "odd_log": Sample("printf 'a\\033[31mred\\033[0m\\r\\n\\377\\376\\000\\tx <script>1</script> 一'"),
    "long_log": Sample(f"head -c {LOG_BYTES} /dev/zero | tr '\\0' x"),
    "large_output": Sample(f'head -c {OUTPUT_BYTES} /dev/zero | tr "\\0" y >"$PORTAL_OUTPUT_DIR/large"'),
    "background": Sample('(sleep 600 & sleep 600 &) ; echo left >"$PORTAL_OUTPUT_DIR/left"'),
    "wrong_input": Sample(
        'echo ran >"$PORTAL_OUTPUT_DIR/ran"', inputs=(Input("data.bin", b"other bytes", told=b"these bytes"),)
    ),
    "missing_input": Sample('echo ran >"$PORTAL_OUTPUT_DIR/ran"', inputs=(Input("data.bin", b"bytes", missing=True),)),
    "speaks_slowly": Sample("echo 一; sleep 4; echo 二; sleep 2; printf end"),
}
