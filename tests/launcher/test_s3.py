import json
import socket
import stat

from portal.launcher.ports import RANGE
from portal.launcher.s3 import S3_PARTS, renew_taken_ports, s3, s3_copies


def keys(environment):
    return {name: environment[name] for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY")}


def test_keys_and_ports_are_made_once_and_only_this_account_reads_them(tmp_path):
    first, second = s3(tmp_path / "s3", log=tmp_path / "log"), s3(tmp_path / "s3", log=tmp_path / "log")
    other = s3(tmp_path / "other", log=tmp_path / "log")

    assert (first.url, first.environment, first.program.argv) == (second.url, second.environment, second.program.argv)
    assert keys(first.environment).items() & keys(other.environment).items() == set()
    assert stat.S_IMODE((tmp_path / "s3" / "server.json").stat().st_mode) == 0o600


def test_each_part_has_two_ports_of_its_own(tmp_path):
    s3(tmp_path, log=tmp_path / "log")
    ports = json.loads((tmp_path / "server.json").read_text())["ports"]

    assert set(ports) == {*S3_PARTS, *(f"{part}_grpc" for part in S3_PARTS)}
    assert (len(set(ports.values())), [port for port in ports.values() if port not in RANGE]) == (8, [])


def test_no_secret_stands_on_the_command_line(tmp_path):
    definition = s3(tmp_path, log=tmp_path / "log")
    own = json.loads((tmp_path / "server.json").read_text())
    line = " ".join(definition.program.argv)

    assert [name for name, value in own.items() if name != "ports" and value in line] == []
    assert "-ip.bind=127.0.0.1" in definition.program.argv


def test_before_it_starts_the_store_is_told_who_may_come(tmp_path):
    definition = s3(tmp_path, log=tmp_path / "log")
    definition.program.before_start()
    identity = json.loads((tmp_path / "identities.json").read_text())["identities"][0]
    definition.program.after_end()

    assert identity["credentials"] == [
        {
            "accessKey": definition.environment["S3_ACCESS_KEY"],
            "secretKey": definition.environment["S3_SECRET_KEY"],
        }
    ]
    assert stat.S_IMODE((tmp_path / "identities.json").stat().st_mode) == 0o600


def test_ports_are_chosen_anew_only_when_one_was_taken_and_keys_stay(tmp_path):
    before = s3(tmp_path, log=tmp_path / "log")
    renew_taken_ports(tmp_path)
    same = s3(tmp_path, log=tmp_path / "log")
    port = json.loads((tmp_path / "server.json").read_text())["ports"]["volume_grpc"]
    with socket.create_server(("127.0.0.1", port)):
        renew_taken_ports(tmp_path)
        after = s3(tmp_path, log=tmp_path / "log")

    assert same.url == before.url
    assert port not in json.loads((tmp_path / "server.json").read_text())["ports"].values()
    assert keys(after.environment) == keys(before.environment)


def test_the_store_for_copies_is_another_one_and_says_so(tmp_path):
    first, second = s3(tmp_path / "s3", log=tmp_path / "log"), s3_copies(tmp_path / "copies", log=tmp_path / "log")
    (site,) = json.loads(second.environment["STORAGE_SITES"])

    assert (site["endpoint"], site["name_en"]) == (second.url, "Demo store B (this computer)")
    assert {site["access_key"], site["secret_key"]} & set(first.environment.values()) == set()
    assert (first.program.name, second.program.name) == ("s3", "s3copies")


def test_two_stores_that_start_at_once_share_no_port(tmp_path):
    def ports(name):
        return json.loads((tmp_path / name / "server.json").read_text())["ports"]

    s3(tmp_path / "a", log=tmp_path / "log")
    s3(tmp_path / "b", log=tmp_path / "log")
    own = json.loads((tmp_path / "b" / "server.json").read_text())
    (tmp_path / "b" / "server.json").write_text(json.dumps({**own, "ports": ports("a")}))
    renew_taken_ports(tmp_path / "b", besides=tmp_path / "a")

    assert set(ports("a").values()) & set(ports("b").values()) == set()
