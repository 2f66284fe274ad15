import factory
from factory.django import DjangoModelFactory

from portal.jobs.models import Artifact, Attempt, Job, JobEvent, LogChunk, Sweep, SweepTask
from tests.factories.accounts import ProjectFactory, UserFactory
from tests.factories.catalog import PriceFactory, ProviderAccountFactory


class JobFactory(DjangoModelFactory[Job]):
    class Meta:
        model = Job

    project = factory.SubFactory(ProjectFactory)
    organization = factory.SelfAttribute("project.organization")
    submitted_by = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda n: f"学習ジョブ {n}")
    command = "python3 main.py"
    price = factory.SubFactory(PriceFactory)
    offering = factory.SelfAttribute("price.offering")
    gpus = 1
    time_limit_s = 3600
    cost_cap = 1000


class AttemptFactory(DjangoModelFactory[Attempt]):
    class Meta:
        model = Attempt

    job = factory.SubFactory(JobFactory)
    account = factory.SubFactory(ProviderAccountFactory, provider=factory.SelfAttribute("..job.offering.provider"))
    offering = factory.SelfAttribute("job.offering")
    price = factory.SelfAttribute("job.price")


class JobEventFactory(DjangoModelFactory[JobEvent]):
    class Meta:
        model = JobEvent

    job = factory.SubFactory(JobFactory)
    kind, by = "state", "portal:test"


class LogChunkFactory(DjangoModelFactory[LogChunk]):
    class Meta:
        model = LogChunk

    job = factory.SubFactory(JobFactory)
    first_line, line_count, text = 1, 1, "hello"


class ArtifactFactory(DjangoModelFactory[Artifact]):
    class Meta:
        model = Artifact

    job = factory.SubFactory(JobFactory)
    path = factory.Sequence(lambda n: f"out-{n}.txt")
    size_bytes, sha256, storage_key = 5, "0" * 64, "t/test/out"


class SweepFactory(DjangoModelFactory[Sweep]):
    class Meta:
        model = Sweep

    project = factory.SubFactory(ProjectFactory)
    submitted_by = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda n: f"探索 {n}")
    names = ["LR"]
    task_count = 1


class SweepTaskFactory(DjangoModelFactory[SweepTask]):
    class Meta:
        model = SweepTask

    sweep = factory.SubFactory(SweepFactory)
    number = 1
    job = factory.SubFactory(JobFactory, project=factory.SelfAttribute("..sweep.project"))
    parameters = {"LR": "0.1"}
