"""The 25 faults of RELIABILITY.md section 3, each with the tests that prove what it must keep.

A fault and a provider are a pair: 75, less those that make no sense, each with its reason. `python -m
tests.faults.proofs` prints them, and how much of each is tried in every run and how much in the long set alone (-m
faults_full); test_proofs.py holds the list to be true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]

PROVIDERS = ("sakura_dok", "slurm_rest", "slurm_ssh")
NO_PROVIDER_ASKED = dict.fromkeys(PROVIDERS, "it is over before any provider is asked")


@dataclass(frozen=True)
class Proof:
    fault: str
    acts: tuple[str, ...] = ()  # of test_provider_faults.py: at one provider in every run, at all with -m faults_full
    tests: tuple[str, ...] = ()  # file::function below tests/; those of a whole portal send to all three in turn
    not_at: Mapping[str, str] = field(default_factory=dict)  # provider to why

    @property
    def at(self) -> tuple[str, ...]:
        return tuple(provider for provider in PROVIDERS if provider not in self.not_at)

    @property
    def in_every_run(self) -> int:
        """Acts, each at one provider, and tests that are not of the long set alone."""
        return len(self.acts) + sum(not is_long(name) for name in self.tests)

    @property
    def in_the_long_set(self) -> int:
        """Further ones: the acts at the other providers, and the long tests."""
        return len(self.acts) * (len(self.at) - 1) + sum(map(is_long, self.tests))


@cache
def is_long(name: str) -> bool:
    """Whether the test (file::function) is run with -m faults_full alone."""
    file, _, function = name.partition("::")
    marked = rf"^@pytest\.mark\.faults_full\n(?:(?!def ).*\n)*?def {function}\("
    return re.search(marked, (TESTS / file).read_text(), re.MULTILINE) is not None


PROOFS: dict[int, Proof] = {
    1: Proof(
        "500, 502, 503, 504, as text and as a page, on submit",
        acts=(
            "submits_are_answered_with_errors_before_their_effect",
            "submits_are_answered_with_errors_after_their_effect",
        ),
    ),
    2: Proof(
        "429 with and without Retry-After, for half an hour",
        acts=("too_many_requests_and_when_to_come_again", "too_many_requests_for_half_an_hour"),
        not_at={"slurm_ssh": "SSH and sbatch know no 429"},
    ),
    3: Proof("accepts, then never answers", acts=("a_submit_is_taken_and_never_answered",)),
    4: Proof("accepts, reset in the middle of the body", acts=("the_connection_breaks_in_the_middle_of_the_answer",)),
    5: Proof("answers that cannot be read", acts=("answers_that_cannot_be_read",)),
    6: Proof("two submits get one id", acts=("two_submits_get_one_id",)),
    7: Proof("jobs vanish and come back", acts=("jobs_vanish_and_come_back",)),
    8: Proof("a job vanishes for good", acts=("a_job_vanishes_for_good",)),
    9: Proof(
        "states go backwards, repeat, come out of order",
        acts=("states_go_backwards",),
        tests=("jobs/test_tracking.py::test_backward_and_late_news_are_dropped",),
    ),
    10: Proof(
        "the provider's clock is 15 minutes off; use across a month's end in Japan",
        acts=("the_providers_clock_is_fast", "the_providers_clock_is_slow"),
        tests=("usage/test_recording.py::test_record_is_cut_at_midnight_in_japan_and_so_at_the_month_end",),
    ),
    11: Proof(
        "our clock jumps 10 minutes either way",
        acts=("our_clock_jumps_ten_minutes",),
        tests=("jobs/test_handoff.py::test_a_clock_of_ours_that_jumps_claims_nothing_twice",),
    ),
    12: Proof(
        "a log drips, bursts, is garbled, is cut",
        acts=("a_log_is_garbled_and_cut", "a_log_bursts"),
        tests=("providers/emulators/test_faults_on_the_wire.py::test_a_log_that_drips_keeps_nobody_waiting",),
        not_at={"slurm_rest": "slurmrestd shows no log: the job itself brings it to the store"},
    ),
    13: Proof("credentials are revoked in mid-run", acts=("the_credentials_are_revoked_while_jobs_run",)),
    14: Proof(
        # Shortened: the two hours pass in the rows, in 24 rounds of five minutes, with 6 forms; in the whole portal
        # 60 forms for each provider, without the two hours.
        "a provider is dark for two hours",
        acts=("the_provider_is_dark_for_two_hours",),
        tests=(
            "faults/test_dark_provider.py::test_provider_goes_dark_while_forms_come_in",
            "faults/test_dark_provider.py::test_each_provider_goes_dark_while_many_forms_come_in",
        ),
    ),
    15: Proof(
        "the broker is killed and comes back empty, or is off",
        tests=(
            "faults/test_broker.py::test_broker_killed_and_back_empty_while_forms_come_in",
            "faults/test_broker.py::test_broker_off_for_the_whole_of_500_forms",
            "faults/test_rabbitmq.py::test_rabbitmq_killed_while_forms_come_in",
        ),
    ),
    16: Proof(
        "the broker takes connections and never answers",
        tests=(
            "faults/test_broker.py::test_broker_that_never_answers_keeps_no_form_waiting",
            "faults/test_rabbitmq.py::test_rabbitmq_that_never_answers_keeps_no_form_waiting",
        ),
    ),
    17: Proof(
        "PostgreSQL is restarted, fast and immediate",
        tests=(
            "faults/test_database.py::test_database_restarted_twice_while_forms_come_in",
            "faults/test_database.py::test_database_restarted_twenty_times_while_forms_come_in",
            "faults/test_database.py::test_pages_say_so_while_the_database_is_away",
        ),
    ),
    18: Proof(
        "kill -9 of a worker at each step, and of its child",
        tests=(
            "faults/test_kill_points.py::test_a_process_dies_in_each_step_at_each_provider",
            "faults/test_kill_points.py::test_a_process_dies_in_each_step_at_each_provider_21_times",
        ),
    ),
    19: Proof(
        "two workers hold one lease",
        tests=(
            "faults/test_lease.py::test_stopped_worker_comes_back_after_another_took_over",
            "faults/test_lease.py::test_stopped_worker_comes_back_after_its_lease_has_ended_by_itself",
        ),
    ),
    20: Proof(
        "the store answers 503, slowly, not at all, or with other bytes than were checked",
        acts=("the_store_has_other_bytes_than_were_checked",),
        tests=(
            "faults/test_storage.py::test_store_that_answers_503_keeps_jobs_waiting",
            "faults/test_storage.py::test_store_that_never_answers_keeps_jobs_waiting",
            "faults/test_storage.py::test_store_that_answers_a_byte_at_a_time_keeps_jobs_waiting",
            "datasets/test_uploading.py::test_what_differs_never_becomes_ready",
        ),
    ),
    21: Proof(
        "the disk of the database, of the store, of the logs is full, or a project keeps all it may",
        tests=(
            "faults/test_full_disks.py::test_full_disk_of_the_database_refuses_forms_until_there_is_room",
            "faults/test_full_disks.py::test_full_store_takes_no_half_file",
            "datasets/test_quota.py::test_what_does_not_fit_is_refused_with_the_next_step_and_nothing_is_stored",
        ),
    ),
    22: Proof(
        "an upload is cut at 1 %, 50 %, 99 %, and before its completion",
        tests=(
            "faults/test_cut_uploads.py::test_upload_cut_off_goes_on_with_what_is_missing",
            "faults/test_cut_uploads.py::test_upload_cut_off_for_good_leaves_no_parts",
            "datasets/test_uploading.py::test_completion_whose_answer_was_lost_is_found_out",
        ),
        not_at=NO_PROVIDER_ASKED,
    ),
    23: Proof(
        "one form many times at once",
        tests=(
            "faults/test_copies.py::test_one_form_sent_50_times_at_once_is_one_job",
            "faults/test_copies.py::test_one_form_sent_200_times_at_once_is_one_job_in_20_rounds",
            "faults/test_races.py::test_one_form_sent_200_times_at_once_is_one_job",
        ),
    ),
    24: Proof(
        "stale forms: price changed, credit used up, project closed, role taken away",
        tests=(
            "faults/test_stale_forms.py::test_price_changed_while_the_form_was_open",
            "faults/test_stale_forms.py::test_credit_used_up_in_another_tab",
            "faults/test_stale_forms.py::test_project_closed_while_the_form_was_open",
            "faults/test_stale_forms.py::test_plan_no_longer_sold_while_the_form_was_open",
            "faults/test_stale_forms.py::test_role_taken_away_while_the_form_was_open",
            "faults/test_stale_forms.py::test_person_taken_out_while_the_form_was_open",
        ),
        not_at=NO_PROVIDER_ASKED,
    ),
    25: Proof(
        # What is charged is what our tracker saw of the job. A provider's statement is compared with that, and what
        # differs is for a person; a report adds what no tracker told, and corrects what a report told before.
        "usage reports are doubled, late, corrected, negative, or tell other things under a known id",
        acts=(
            "the_accounts_tell_each_job_twice",
            "the_accounts_are_45_days_late",
            "the_accounts_are_corrected",
            "the_accounts_are_negative",
        ),
        tests=(
            "usage/test_recording.py::test_the_same_interval_again_changes_nothing",
            "usage/test_recording.py::test_other_numbers_for_recorded_time_are_refused",
            "usage/test_intake.py::test_the_same_again_changes_nothing_whatever_report_it_comes_in",
            "usage/test_intake.py::test_usage_that_is_45_days_late_is_taken_in",
            "usage/test_intake.py::test_other_numbers_are_a_row_that_takes_back_and_a_row_that_stands_instead",
            "usage/test_intake.py::test_numbers_that_were_corrected_already_change_nothing_when_their_report_comes_again",
            "usage/test_intake.py::test_a_line_that_cannot_be_is_refused_and_listed_and_the_others_are_taken_in",
            "usage/test_intake.py::test_an_id_that_told_of_another_attempt_is_refused",
            "usage/test_reports.py::test_reports_doubled_late_disordered_and_corrected_come_to_what_the_oracle_says",
            "usage/test_reports.py::test_a_million_reports_come_to_what_the_oracle_says",
            "jobs/test_usage_reports.py::test_a_report_becomes_records_charges_and_the_sums_of_its_jobs",
            "jobs/test_statements.py::test_what_differs_is_written_down_and_no_record_is_changed",
        ),
    ),
}


def told() -> list[str]:
    """One line for each fault, and the sum."""
    lines = [
        f"{number:2} {proof.fault}: {', '.join(proof.at) or 'no provider'}"
        f" ({proof.in_every_run} in every run, {proof.in_the_long_set} more in the long set)"
        for number, proof in PROOFS.items()
    ]
    proved = sum(len(proof.at) for proof in PROOFS.values())
    return [*lines, f"{proved} pairs of fault and provider; {75 - proved} of 75 make no sense"]


if __name__ == "__main__":
    print("\n".join(told()))
    for proof in PROOFS.values():
        for provider, why in proof.not_at.items():
            print(f"not at {provider}: {proof.fault}: {why}")
