"""A browser's side of an upload, by raw HTTP: what upload.js does, one step a function."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import httpx
from django.http import HttpResponse
from django.test import Client

MIB = 1024 * 1024


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin(client: Client, data: bytes = b"words", **fields: Any) -> HttpResponse:
    said = {"name": "words.txt", "size": len(data), "content_type": "text/plain", "last_modified": 1_795_000_000_000}
    return client.post("/datasets/begin/", {**said, "sha256": sha256(data), **fields})


def piece(data: bytes, made: dict[str, Any], number: int) -> bytes:
    return data[(number - 1) * made["part_size"] : number * made["part_size"]]


def send(client: Client, made: dict[str, Any], data: bytes, numbers: Iterable[int] | None = None) -> list[int]:
    """PUT these parts (all when not given) and return the store's answers."""
    wanted = list(numbers or range(1, made["parts"] + 1))
    if not wanted:
        return []
    digests = {str(n): sha256(piece(data, made, n)) for n in wanted}
    answer = client.post(made["urls"]["parts"], {"parts": json.dumps(digests)})
    assert answer.status_code == 200, answer.content
    return [
        httpx.put(at["url"], headers=at["headers"], content=piece(data, made, int(n)), timeout=60).status_code
        for n, at in answer.json()["parts"].items()
    ]


def over_parts(made: dict[str, Any], data: bytes) -> str:
    digests = (hashlib.sha256(piece(data, made, n)).digest() for n in range(1, made["parts"] + 1))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def complete(client: Client, made: dict[str, Any], data: bytes) -> HttpResponse:
    return client.post(made["urls"]["complete"], {"parts_sha256": over_parts(made, data)})
