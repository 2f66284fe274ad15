"""TCP ports on loopback."""

import secrets
import socket

# Below the range that the kernel takes for outgoing connections, which would now and then occupy a remembered port.
RANGE = range(20_000, 30_000)


def free_port(*, besides: set[int] | None = None) -> int:
    """A port nobody listens on, to be remembered: the next start wants the same."""
    while True:
        port = secrets.choice(RANGE)
        if port not in (besides or set()) and is_free(port):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last start's closed connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def may_listen(port: int) -> bool:
    """False for the low ports of other accounts than root."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return False
        except OSError:
            pass
    return True


def accepts(port: int) -> bool:
    """Somebody listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
