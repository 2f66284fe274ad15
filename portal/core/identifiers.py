"""Public codes for URLs and names. Letters that look alike (I, L, O, U) are left out."""

import secrets

from django.utils import timezone

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def random_code(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def job_code() -> str:
    """J-20261124-7K3Q9XAB: people say the day first when they speak of a job. 2^40 codes a day."""
    return f"J-{timezone.localdate():%Y%m%d}-{random_code(8)}"


def sweep_code() -> str:
    return f"W-{timezone.localdate():%Y%m%d}-{random_code(8)}"


def organization_code() -> str:
    return f"o-{random_code(8).lower()}"


def project_code() -> str:
    return f"p-{random_code(8).lower()}"


def dataset_code() -> str:
    return f"d-{random_code(10).lower()}"


def file_code() -> str:
    return f"f-{random_code(12).lower()}"


def certificate_code() -> str:
    return f"c-{random_code(10).lower()}"


def settlement_code() -> str:
    return f"s-{random_code(10).lower()}"


def attempt_code() -> str:
    """Part of the job's name at the provider, where only lower case letters, digits and hyphens are safe."""
    return random_code(12).lower()
