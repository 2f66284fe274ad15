import signal
import time

import redis

from portal.launcher.services import start_valkey


def test_valkey_keeps_what_it_accepted(tmp_path):
    first = start_valkey(tmp_path / "valkey")
    path = first.url.removeprefix("redis+socket://")
    redis.Redis(unix_socket_path=path).set("kept", "7")
    time.sleep(1.1)  # its log is flushed every second
    first.process.kill()
    second = start_valkey(tmp_path / "valkey")
    try:
        assert redis.Redis(unix_socket_path=path).get("kept") == b"7"
    finally:
        second.stop()
    assert second.process.exit_status in (0, -signal.SIGTERM)
