"""A bench whose jobs run in an image, and what stands in for the programs that no package here brings (standins/)."""

from __future__ import annotations

from pathlib import Path

from portal.providers.conformance import Bench
from portal.providers.conformance.samples import Sample

STANDINS = Path(__file__).with_name("standins")
RUNTIMES = ("pyxis", "apptainer")
IMAGE = "registry.example.jp:5000/lab/python:3.11-slim"
# What a container between Slurm and the bootstrap could break: bytes, codes, signals, variables, the place of files.
PROMISES = [
    "a_program_that_ends_well_succeeded_with_0",
    "a_program_that_exits_with_3_failed_with_3",
    "a_program_that_is_killed_failed_with_137",
    "a_program_that_ends_itself_with_term_failed_with_143",
    "a_program_that_is_not_there_failed_with_127",
    "what_a_program_leaves_in_the_background_does_not_keep_the_job",
    "of_two_copies_of_a_job_one_runs",
    "a_running_job_that_is_ended_is_cancelled",
    "the_program_hears_of_the_end_and_may_save",
    "a_program_that_does_not_listen_is_ended_too",
    "one_job_gives_the_same_digests_at_every_provider",
    "an_input_with_another_checksum_ends_the_job_before_the_program",
    "a_variable_arrives_with_quotes_dollars_and_line_breaks",
    "the_program_knows_the_job_and_not_the_manifests_address",
    "standard_input_is_empty",
    "the_log_has_standard_output_and_errors",
    "the_log_of_a_silent_job_is_empty",
    "a_log_of_three_megabytes_comes_whole",
    "colours_markup_and_broken_utf8_stay_the_bytes_they_are",
    "a_last_line_without_its_end_is_not_lost",
    "every_element_has_a_place_and_results_of_its_own",
    "an_element_that_fails_leaves_the_others",
]


class BenchInImages(Bench):
    """The stand-ins come first on the job's path."""

    def _environment(self, key: str, sample: Sample) -> dict[str, str]:
        return {**super()._environment(key, sample), "PATH": f"{STANDINS}:/usr/local/bin:/usr/bin:/bin"}
