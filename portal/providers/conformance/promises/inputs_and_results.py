"""What goes to the machine and what comes back, byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from portal.providers.base import DataPush, RemoteState
from portal.providers.bootstrap import BootstrapExit, Manifest, ManifestFile, render_manifest
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import NotOffered, equal, hold, promise, raises
from portal.providers.conformance.samples import BINARY, LONG_VALUE, OUTPUT_BYTES, TEXT, VALUE
from portal.providers.errors import Unavailable

# Numbers of one run, not a computation: equal here means equal at every provider.
DIGESTS = {
    "写し 1.txt": "19c272e34989e01e",
    "sub/binary": "a1f259d4365ed432",
}


@promise
def an_input_lies_under_its_name_with_its_bytes(bench: Bench) -> str:
    hold(bench.sample("good").log.startswith(TEXT), "the log does not begin with the input's text")
    return "日本/語 1.txt, read by its name"


@promise
def an_input_with_another_checksum_ends_the_job_before_the_program(bench: Bench) -> str:
    return _not_run(bench, "wrong_input")


@promise
def an_input_that_cannot_be_fetched_ends_the_job_before_the_program(bench: Bench) -> str:
    return _not_run(bench, "missing_input")


@promise
def results_come_back_under_their_names(bench: Bench) -> str:
    output = bench.sample("good").output or {}
    equal(sorted(output), ["sub/binary", "写し 1.txt"], "files")
    return ", ".join(sorted(output))


@promise
def results_come_back_with_every_byte(bench: Bench) -> str:
    output = bench.sample("good").output or {}
    equal(output.get("sub/binary"), BINARY, "16 KiB of every byte")
    equal(output.get("写し 1.txt"), TEXT, "text")
    return "all 256 byte values and Japanese text are equal"


@promise
def one_job_gives_the_same_digests_at_every_provider(bench: Bench) -> str:
    output = bench.sample("good").output or {}
    digests = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in output.items()}
    equal(digests, DIGESTS, "SHA-256")
    return " ".join(sorted(digests.values()))


@promise
def a_link_in_the_results_brings_nothing_from_outside(bench: Bench) -> str:
    output = bench.sample("good").output or {}
    hold("link" not in output, "the link's target came along")
    return "the link to /etc/hostname was left out"


@promise
def a_job_that_leaves_nothing_has_no_results(bench: Bench) -> str:
    hold(not bench.sample("silent").output, f"{sorted(bench.sample('silent').output or {})}")
    return "none"


@promise
def a_job_that_failed_keeps_what_it_had_written(bench: Bench) -> str:
    equal(bench.sample("exits_3").output, {"part": b"part\n"}, "results")
    return "part"


@promise
def eight_megabytes_come_back_whole(bench: Bench) -> str:
    output = bench.sample("large_output").output or {}
    equal(len(output.get("large", b"")), OUTPUT_BYTES, "bytes")
    hold(set(output["large"]) == {ord("y")}, "other bytes are among them")
    return f"{OUTPUT_BYTES:,} bytes"


@promise
def a_variable_arrives_with_quotes_dollars_and_line_breaks(bench: Bench) -> str:
    equal((bench.sample("values").output or {}).get("value"), VALUE.encode(), "value")
    return f"{len(VALUE)} characters, none expanded"


@promise
def a_variable_of_twenty_thousand_characters_arrives_whole(bench: Bench) -> str:
    equal((bench.sample("values").output or {}).get("long", b"").strip(), b"%d" % len(LONG_VALUE.encode()), "bytes")
    return f"{len(LONG_VALUE.encode()):,} bytes"


@promise
def the_program_knows_the_job_and_not_the_manifests_address(bench: Bench) -> str:
    output = bench.sample("values").output or {}
    equal(output.get("manifest"), b"none", "PORTAL_MANIFEST_URL")
    equal(output.get("job"), bench.sample_job("values").key.encode(), "PORTAL_JOB")
    return "PORTAL_JOB is set, PORTAL_MANIFEST_URL is not"


@promise
def the_job_knows_the_id_by_which_its_provider_knows_it(bench: Bench) -> str:
    """By it the portal tells a second copy from the one that it follows."""
    variable = bench.adapter.id_variable
    if not variable:
        raise NotOffered("its jobs are not told their id")
    job = bench.wait(bench.submit(f'printf %s "${{{variable}:-}}" >"$PORTAL_OUTPUT_DIR/id"'))
    equal((bench.output_of(job) or {}).get("id"), job.remote_id.encode(), variable)
    return f"{variable}={job.remote_id}"


@promise
def standard_input_is_empty(bench: Bench) -> str:
    equal((bench.sample("values").output or {}).get("stdin"), b"", "standard input")
    return "reading it ends at once"


@promise
def the_work_directory_may_be_written_and_is_the_jobs_own(bench: Bench) -> str:
    output = bench.sample("values").output or {}
    equal(output.get("writable"), b"yes\n", "a file could be made")
    return output.get("pwd", b"").decode(errors="replace").strip()


@promise
def what_was_pushed_is_there_without_any_address(bench: Bench) -> str:
    """Though its push broke off in the middle, and was repeated when it was whole."""
    with _pushing(bench) as adapter:
        key, data = bench.key(), BINARY * 600  # several blocks
        inputs = (_pushed("input-0", data, "日本/語 1.bin"),)
        command = 'sha256sum <"$PORTAL_DATA_DIR/日本/語 1.bin"; ! env | grep PORTAL_MANIFEST'
        manifest = render_manifest(Manifest(job=key, command=command, inputs=inputs)).encode()

        def breaks_off(start: int) -> Iterator[bytes]:
            yield data[start : start + 9_000_000]
            raise Unavailable("as a connection does")

        raises(Unavailable, lambda: adapter.push(key, "input-0", breaks_off, size_bytes=len(data)))
        begun: list[int] = []

        def goes_on(start: int) -> Iterator[bytes]:
            begun.append(start)
            yield data[start:]

        for _ in range(2):
            adapter.push(key, "input-0", goes_on, size_bytes=len(data))
            adapter.push(key, "manifest", lambda start: iter([manifest[start:]]), size_bytes=len(manifest))
        hold(len(begun) == 1 and begun[0] > 0, f"the second and third push began at {begun}")
        job = bench.wait(bench.adapter.submit(bench.spec("", key=key, environment={})))
    equal((job.state, job.exit_code), (RemoteState.SUCCEEDED, 0), "end")
    equal(bench.log_of(job).split()[:1], [hashlib.sha256(data).hexdigest().encode()], "SHA-256")
    return f"{len(data):,} bytes, from byte {begun[0]:,} on in the second push"


@promise
def what_was_pushed_and_not_used_is_taken_back(bench: Bench) -> str:
    with _pushing(bench) as adapter:
        key = bench.key()
        adapter.take_back(key)
        adapter.push(key, "manifest", lambda start: iter([b"end\n"[start:]]), size_bytes=4)
        adapter.take_back(key)
        adapter.take_back(key)
        job = bench.wait(bench.adapter.submit(bench.spec("", key=key, environment={})))
    equal(job.exit_code, int(BootstrapExit.NOT_STARTED), "exit code of a job without a manifest")
    return "the job found no manifest"


@contextlib.contextmanager
def _pushing(bench: Bench) -> Iterator[DataPush]:
    """An adapter of this account that pushes. Raises NotOffered."""
    bench.ability(DataPush)
    with bench.other_adapter(options={**bench.account.options, "staging": "push"}) as adapter:
        assert isinstance(adapter, DataPush)
        equal(adapter.pushes, True, "pushes")
        yield adapter


def _pushed(name: str, data: bytes, path: str) -> ManifestFile:
    return ManifestFile(f"file:{name}", hashlib.sha256(data).hexdigest(), len(data), path)


def _not_run(bench: Bench, name: str) -> str:
    ended = bench.sample(name)
    equal((ended.job.state, ended.job.exit_code), (RemoteState.FAILED, int(BootstrapExit.INPUT_MISMATCH)), "end")
    hold("ran" not in (ended.output or {}), "the program ran")
    hold(b"data.bin" in ended.log, "the log does not name the input")
    return ended.log.decode(errors="replace").strip()
