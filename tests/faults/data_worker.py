"""A worker that copies data at one site until it is killed, and writes down what each store took from it.

PORTAL_MODE=test python -m tests.faults.data_worker SITE LOG
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import django

django.setup()

from portal.datasets import copying, storage  # noqa: E402 - Django first
from portal.datasets.models import StorageSite  # noqa: E402


def work(site_id: int) -> None:
    site = StorageSite.objects.get(pk=site_id)
    while True:
        try:
            more = copying.work(site, for_s=10)
        except storage.StorageUnavailable:
            more = False
        if not more:
            time.sleep(0.1)


def write_down(log: int) -> None:
    """One line for each object and part after the store had said that it has it."""
    put_bytes, send_part = storage.put_bytes, storage.send_part

    def put(key: str, data: bytes, *args: Any, **more: Any) -> None:
        put_bytes(key, data, *args, **more)
        os.write(log, f"{key} 0 {len(data)}\n".encode())

    def part(key: str, upload_id: str, number: int, data: bytes, **more: Any) -> Any:
        answer = send_part(key, upload_id, number, data, **more)
        os.write(log, f"{key} {number} {len(data)}\n".encode())
        return answer

    storage.put_bytes, storage.send_part = put, part


if __name__ == "__main__":
    write_down(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    threads = [threading.Thread(target=work, args=(int(sys.argv[1]),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
