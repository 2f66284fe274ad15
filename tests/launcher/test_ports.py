import socket

import pytest

from portal.launcher import ports


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_is_free_until_somebody_listens_there(taken):
    assert (ports.is_free(taken), ports.accepts(taken)) == (False, True)
    chosen = ports.free_port()
    assert (chosen in ports.RANGE, ports.is_free(chosen), ports.accepts(chosen)) == (True, True, False)


@pytest.mark.parametrize("port", [-1, 65536, 10**12])
def test_a_number_that_is_no_port_is_not_free(port):
    assert ports.is_free(port) is False


def test_a_port_is_never_given_twice():
    left = set(ports.RANGE) - set(ports.RANGE[:40])
    given = {ports.free_port(besides=left) for _ in range(5)}
    assert given <= set(ports.RANGE[:40])


def test_a_port_whose_connections_were_just_closed_is_free_for_the_next_start():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the server's side closes first and lingers
    assert ports.is_free(port) is True
