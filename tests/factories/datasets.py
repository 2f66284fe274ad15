import hashlib
from datetime import UTC, datetime, timedelta

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from portal.datasets.models import DataFile, Dataset, DatasetShare, DatasetVersion, DeletionCertificate
from tests.factories.accounts import ProjectFactory, UserFactory


class DatasetFactory(DjangoModelFactory[Dataset]):
    class Meta:
        model = Dataset

    project = factory.SubFactory(ProjectFactory)
    organization = factory.SelfAttribute("project.organization")
    name = factory.Sequence(lambda n: f"データ{n}")
    folder = factory.SelfAttribute("name")
    created_by = factory.SubFactory(UserFactory)


class DataFileFactory(DjangoModelFactory[DataFile]):
    """A verified file; its bytes are not in storage unless the test puts them there."""

    class Meta:
        model = DataFile

    dataset = factory.SubFactory(DatasetFactory)
    name = factory.Sequence(lambda n: f"words-{n}.txt")
    size_bytes = 5
    state = "ready"
    storage_key = factory.Sequence(lambda n: f"t/test/file-{n}")
    sha256 = hashlib.sha256(b"words").hexdigest()
    created_by = factory.SelfAttribute("dataset.created_by")
    ready_at = factory.LazyFunction(lambda: timezone.now() - timedelta(days=1))  # not due to be read again


class DatasetVersionFactory(DjangoModelFactory[DatasetVersion]):
    """Ready; the files it is made of say so themselves (`added_in`), and its manifest is not in storage."""

    class Meta:
        model = DatasetVersion

    dataset = factory.SubFactory(DatasetFactory)
    number = factory.Sequence(lambda n: n + 1)
    state = "ready"
    manifest_sha256 = hashlib.sha256(b"manifest").hexdigest()
    manifest_key = "t/test/manifest"
    created_by = factory.SelfAttribute("dataset.created_by")


class DeletionCertificateFactory(DjangoModelFactory[DeletionCertificate]):
    """Of a dataset that was deleted just now; nothing is listed yet."""

    class Meta:
        model = DeletionCertificate

    dataset = factory.SubFactory(DatasetFactory, removed_at=datetime(2026, 11, 2, tzinfo=UTC))
    organization = factory.SelfAttribute("dataset.organization")
    project = factory.SelfAttribute("dataset.project")
    dataset_name = factory.SelfAttribute("dataset.name")
    cause = "person"
    by = factory.SelfAttribute("dataset.created_by")
    reason = "end of the study"


class DatasetShareFactory(DjangoModelFactory[DatasetShare]):
    """With a project, of another organization where none is given; its last day is that of 2098."""

    class Meta:
        model = DatasetShare

    dataset = factory.SubFactory(DatasetFactory)
    organization = factory.SelfAttribute("dataset.organization")
    to_project = factory.SubFactory(ProjectFactory)
    to_organization = factory.SelfAttribute("to_project.organization")
    until = datetime(2098, 12, 31, 15, tzinfo=UTC)
    created_by = factory.SelfAttribute("dataset.created_by")
