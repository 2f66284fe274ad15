"""The conformance kit against each emulator: every promise is held or not offered, and a seeded defect is found."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from portal.providers.base import JobSpec, RemoteJob
from portal.providers.conformance import (
    Bench,
    Promise,
    Result,
    all_promises,
    begin,
    examine,
    score,
    table,
    to_json,
)
from portal.providers.errors import OutcomeUnknown, Rejected, Unavailable
from portal.providers.slurm_rest import SlurmRest
from tests.providers.emulated import KINDS, TARGETS, bench_of, emulator
from tests.providers.file_server import FileServer

# What an interface does not have, and what its adapter therefore does not claim.
DOK_ALONE = {
    "the_bill_of_today_names_the_plan_that_was_used", "each_line_of_the_bill_is_its_usage_times_the_price",
    "the_bill_of_the_month_holds_that_of_the_day", "a_job_that_was_deleted_stays_on_the_bill",
    "what_has_ended_and_is_deleted_is_gone", "what_has_not_ended_is_not_deleted", "deleting_what_nobody_knows_is_quiet",
    "the_same_login_may_be_given_with_two_jobs_at_once",
    "forgetting_a_login_may_be_repeated_and_is_quiet_where_there_is_none",
    "a_web_port_is_answered_at_its_address_while_the_job_runs", "a_job_without_a_web_port_has_no_address",
}  # fmt: skip
ARRAYS = {one.name for one in all_promises() if one.area == "arrays"}
NOT_OFFERED = {
    "sakura_dok": ARRAYS | {
        "the_limit_of_a_running_job_can_be_changed",
        "each_further_gpu_is_counted", "more_gpus_than_there_are_is_refused_as_no_capacity",
        "gpus_that_nodes_cannot_share_are_refused", "what_is_free_is_told_by_plan",
        "what_was_pushed_is_there_without_any_address", "what_was_pushed_and_not_used_is_taken_back",
    },
    "slurm_rest": {
        "a_live_log_goes_on_where_one_stopped", "a_live_log_has_nothing_of_a_job_that_waits",
        "a_live_log_is_the_beginning_of_the_whole", "a_live_log_has_nothing_beyond_its_end",
        "a_plan_is_on_the_price_list_with_its_price", *DOK_ALONE,
        "what_was_pushed_is_there_without_any_address", "what_was_pushed_and_not_used_is_taken_back",
    },
    "slurm_ssh": {
        "a_plan_is_on_the_price_list_with_its_price", "what_is_free_is_told_by_plan",
        "an_answer_that_makes_no_sense_is_unknown", "an_answer_without_a_job_is_unknown",
        "an_answer_that_is_cut_in_its_middle_is_unknown", "an_error_of_the_server_is_unknown",
        "an_answer_of_a_hundred_megabytes_is_not_read_to_its_end", "too_many_requests_is_unavailable_with_its_time",
        "a_list_that_makes_no_sense_is_unavailable", *DOK_ALONE,
    },
}  # fmt: skip
PROMISES = {one.name: one for one in all_promises()}
QUICK = [name for name, one in PROMISES.items() if not one.slow]


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, store: FileServer) -> Iterator[Bench]:
    with emulator(request.param, "--running", "8") as running:
        made = bench_of(running, store)
        begin(made, PROMISES.values())
        yield made
        made.close()


@pytest.mark.parametrize("name", QUICK)
def test_a_promise_is_kept(name: str, bench: Bench) -> None:
    (finding,) = examine(bench, [PROMISES[name]])
    expected = Result.NOT_OFFERED if name in NOT_OFFERED[bench.account.kind] else Result.HELD
    assert finding.result is expected, finding.evidence


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_limit_is_kept(kind: str, store: FileServer) -> None:
    with emulator(kind, "--time-scale", "300") as running:
        bench = bench_of(running, store)
        slow: list[Promise] = [one for one in PROMISES.values() if one.slow]
        results = {True: Result.NOT_OFFERED, False: Result.HELD}
        expected = [(one.name, results[one.name in NOT_OFFERED[kind]]) for one in slow]
        assert [(f.promise.name, f.result) for f in examine(bench, slow)] == expected
        bench.close()


@pytest.mark.parametrize("kind", KINDS)
def test_each_adapter_is_held_to_sixty_promises_at_least(kind: str) -> None:
    assert len(set(PROMISES) - NOT_OFFERED[kind]) >= 60
    assert NOT_OFFERED[kind] <= set(PROMISES)


@pytest.mark.parametrize(
    ("defect", "kind", "broken"),
    [
        ("exit_codes_are_0", "sakura_dok", {"a_program_that_exits_with_3_failed_with_3"}),
        ("stops_are_ignored", "slurm_rest", {"a_running_job_that_is_ended_is_cancelled"}),
        ("names_are_forgotten", "slurm_ssh", {"a_key_finds_what_it_made_and_nothing_else"}),
        ("ended_jobs_vanish", "sakura_dok", {"a_program_that_ends_well_succeeded_with_0"}),
        ("clock_is_ahead", "slurm_rest", {"times_are_instants_in_utc_near_ours"}),
        ("limits_are_ignored", "slurm_ssh", {"a_job_that_passes_its_time_limit_is_ended_there"}),
    ],
)
def test_a_seeded_defect_is_found(defect: str, kind: str, broken: set[str], store: FileServer) -> None:
    scale = ["--time-scale", "300"] if defect == "limits_are_ignored" else []
    with emulator(kind, "--running", "8", "--defect", defect, *scale) as running:
        bench = bench_of(running, store, wait_s=8)
        findings = list(examine(bench, [PROMISES[name] for name in broken]))
        bench.close()
    assert {finding.promise.name for finding in findings if finding.result is Result.BROKEN} == broken


@pytest.mark.parametrize(
    ("kind", "fault", "broken"),
    [
        ("sakura_dok", {"on": "submit", "fault": "503:1:after"}, "a_key_finds_a_job_as_soon_as_it_was_taken"),
        ("slurm_rest", {"on": "get", "malformed": "20_mb"}, "what_has_ended_stays_as_it_ended"),
        ("slurm_ssh", {"on": "find", "reset_in_body": True}, "a_key_that_made_nothing_finds_nothing"),
        ("slurm_ssh", {"vanished": "*"}, "a_key_finds_a_job_as_soon_as_it_was_taken"),
        ("slurm_rest", {"backwards": "*"}, "what_has_ended_stays_as_it_ended"),
        ("sakura_dok", {"clock_skew_s": 900}, "times_are_instants_in_utc_near_ours"),
        ("slurm_ssh", {"clock_skew_s": -9000}, "times_are_instants_in_utc_near_ours"),
        ("slurm_rest", {"revoked": 403}, "good_credentials_are_confirmed_in_one_line"),
        ("sakura_dok", {"same_id": True}, "sixteen_jobs_handed_over_at_once_are_sixteen_jobs"),
        ("sakura_dok", {"log_garbled": True}, "the_log_has_standard_output_and_errors"),
        ("slurm_ssh", {"log_burst_mb": 1}, "the_log_of_a_silent_job_is_empty"),
        ("sakura_dok", {"log_bytes_per_s": 4, "log_cut_every_s": 1}, "the_log_has_standard_output_and_errors"),
        ("slurm_ssh", {"usage_duplicated": True}, "the_statement_has_a_job_once_with_the_same_count"),
        ("slurm_rest", {"usage_late_s": 3600}, "the_statement_has_a_job_once_with_the_same_count"),
        ("slurm_rest", {"usage_corrected_by_s": 60}, "the_statement_has_a_job_once_with_the_same_count"),
        ("sakura_dok", {"usage_negative": True}, "the_bill_of_today_names_the_plan_that_was_used"),
    ],
)
def test_a_seeded_fault_is_found(kind: str, fault: dict[str, object], broken: str, store: FileServer) -> None:
    with emulator(kind, "--running", "8") as running:
        bench = bench_of(running, store, wait_s=20)
        bench.sample("exits_3")  # ended before anything was wrong
        running.fault(**fault)
        (finding,) = examine(bench, [PROMISES[broken]])
        running.fault(clear=True)
        bench.close()
    assert finding.result is Result.BROKEN, finding.evidence


@pytest.mark.parametrize(
    ("kind", "fault", "held"),
    [
        ("sakura_dok", {"backwards": "*", "times": 3}, "a_program_that_exits_with_3_failed_with_3"),
        ("slurm_ssh", {"vanished": "*", "for_s": 3}, "a_program_that_exits_with_3_failed_with_3"),
        ("slurm_rest", {"clock_skew_s": 200}, "times_are_instants_in_utc_near_ours"),
        ("slurm_rest", {"clock_skew_s": -900}, "gpu_seconds_are_run_time_times_gpus"),
        ("slurm_ssh", {"clock_skew_s": 200}, "the_statement_has_a_job_once_with_the_same_count"),
        ("sakura_dok", {"clock_skew_s": 900}, "each_line_of_the_bill_is_its_usage_times_the_price"),
        ("sakura_dok", {"usage_corrected_by_s": 60}, "each_line_of_the_bill_is_its_usage_times_the_price"),
        ("slurm_ssh", {"log_bytes_per_s": 1_000_000, "log_cut_every_s": 60}, "a_log_of_three_megabytes_comes_whole"),
        ("sakura_dok", {"on": "*", "latency_s": 0.2}, "a_key_finds_what_it_made_and_nothing_else"),
        *(
            (kind, {"on": "find", "latency_s": 1.5}, "an_answer_that_is_cut_off_after_the_job_was_made_is_unknown")
            for kind in KINDS
        ),
    ],
)
def test_a_promise_holds_in_spite_of_a_fault(kind: str, fault: dict[str, object], held: str, store: FileServer) -> None:
    with emulator(kind, "--running", "8") as running:
        bench = bench_of(running, store)
        running.fault(**fault)
        (finding,) = examine(bench, [PROMISES[held]])
        running.fault(clear=True)
        bench.close()
    assert finding.result is Result.HELD, finding.evidence


class _TakesANameOnce(SlurmRest):
    """As a provider that refuses a name which it has already."""

    def submit(self, spec: JobSpec) -> RemoteJob:
        if self.find(spec.key):
            raise Rejected("the name is taken")
        return super().submit(spec)


def test_a_provider_that_refuses_a_name_which_is_taken_runs_one_of_two_copies(store: FileServer) -> None:
    with emulator("slurm_rest", "--running", "8") as running:
        bench = Bench(running.account, _TakesANameOnce, TARGETS["slurm_rest"], store)
        (finding,) = examine(bench, [PROMISES["of_two_copies_of_a_job_one_runs"]])
        bench.close()
    assert (finding.result, finding.evidence) == (
        Result.HELD,
        "the second hand-over is refused: the name is taken",
    )


@pytest.mark.parametrize(
    ("variable", "result", "evidence"),
    [
        ("", Result.NOT_OFFERED, "its jobs are not told their id"),
        ("OTHER_ID", Result.BROKEN, "OTHER_ID: b'' instead of"),
    ],
)
def test_an_adapter_says_by_which_variable_a_job_knows_its_id_or_that_it_does_not(
    variable: str, result: Result, evidence: str, store: FileServer
) -> None:
    with emulator("slurm_ssh", "--running", "8") as running:
        bench = bench_of(running, store)
        bench.adapter.id_variable = variable
        (finding,) = examine(bench, [PROMISES["the_job_knows_the_id_by_which_its_provider_knows_it"]])
        bench.close()
    assert (finding.result, finding.evidence.startswith(evidence)) == (result, True)


class _CallsALostAnswerNothing(SlurmRest):
    """As an adapter that says of a job which it may have made that it certainly did not."""

    def submit(self, spec: JobSpec) -> RemoteJob:
        try:
            return super().submit(spec)
        except OutcomeUnknown as lost:
            raise Unavailable(lost.summary) from None


def test_an_adapter_that_calls_a_lost_answer_nothing_is_found_out(store: FileServer) -> None:
    with emulator("slurm_rest", "--running", "8") as running:
        bench = Bench(running.account, _CallsALostAnswerNothing, TARGETS["slurm_rest"], store)
        (finding,) = examine(bench, [PROMISES["an_answer_that_is_cut_off_after_the_job_was_made_is_unknown"]])
        bench.close()
    assert (finding.result, finding.evidence) == (
        Result.BROKEN,
        "a job was made, and Unavailable (the connection broke off) came",
    )


def test_the_report_says_what_was_found(store: FileServer) -> None:
    names = [
        "good_credentials_are_confirmed_in_one_line",
        "what_is_free_is_told_by_plan",
        "a_key_that_made_nothing_finds_nothing",
    ]
    with emulator("slurm_ssh", "--defect", "names_are_forgotten") as running:
        bench = bench_of(running, store)
        findings = list(examine(bench, [PROMISES[name] for name in names]))
        bench.close()
    assert score(findings) == {"held": 2, "broken": 0, "not_offered": 1, "percent": 100}
    told = json.loads(to_json(findings, account="slurm_ssh #1"))
    assert [(one["promise"], one["result"]) for one in told["promises"]] == [
        ("Good credentials are confirmed in one line.", "held"),
        ("What is free is told by plan.", "not offered"),
        ("A key that made nothing finds nothing.", "held"),
    ]
    assert table(findings).splitlines()[-1] == "2 held, 0 broken, 1 not offered: 100 % of what is offered."
