"""Endpoints that no name server can be asked for."""

from __future__ import annotations

import pytest

from portal.providers.base import Account
from portal.providers.endpoints import refuse_no_host
from portal.providers.errors import Misconfigured
from portal.providers.http_client import HttpClient
from portal.providers.slurm_ssh.client import SshClient


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "dok.example.jp", "国産.example.jp", "a" * 63])
def test_a_name_or_an_address_is_a_host(host: str) -> None:
    refuse_no_host(host)


@pytest.mark.parametrize("host", ["", "a" * 64, "a..jp", f"www.{'a' * 64}.jp"])
def test_what_cannot_be_looked_up_is_none(host: str) -> None:
    with pytest.raises(Misconfigured, match="no host name that can be looked up"):
        refuse_no_host(host)


@pytest.mark.parametrize(
    "url", ["", "https://", f"https://{'a' * 64}.jp/", "https://localhost:²/", "https://localhost:99999/"]
)
def test_an_address_that_is_none_is_refused_before_it_is_asked(url: str) -> None:
    with pytest.raises(Misconfigured, match="the endpoint"):
        HttpClient(url)


@pytest.mark.parametrize(
    "endpoint", ["", "localhost", "localhost:²", "localhost:0", "localhost:65536", f"{'a' * 64}:22"]
)
def test_a_host_and_port_that_are_none_are_refused_before_they_are_asked(endpoint: str) -> None:
    with pytest.raises(Misconfigured, match="the endpoint"):
        SshClient(Account("slurm_ssh", endpoint, {}))
