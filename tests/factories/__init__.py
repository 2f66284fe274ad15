"""One factory per model; `from tests.factories import JobFactory`."""

from tests.factories.accounts import (
    MembershipFactory,
    OrganizationFactory,
    ProjectFactory,
    RegistryLoginFactory,
    StaffFactory,
    UserFactory,
)
from tests.factories.billing import BillingAccountFactory, BudgetFactory, InvoiceFactory, SpendRequestFactory
from tests.factories.catalog import OfferingFactory, PriceFactory, ProviderAccountFactory, ProviderFactory, SiteFactory
from tests.factories.datasets import (
    DataFileFactory,
    DatasetFactory,
    DatasetShareFactory,
    DatasetVersionFactory,
    DeletionCertificateFactory,
)
from tests.factories.jobs import (
    ArtifactFactory,
    AttemptFactory,
    JobEventFactory,
    JobFactory,
    LogChunkFactory,
    SweepFactory,
    SweepTaskFactory,
)
from tests.factories.usage import DifferenceFactory

__all__ = [
    "ArtifactFactory",
    "AttemptFactory",
    "BillingAccountFactory",
    "BudgetFactory",
    "DataFileFactory",
    "DatasetFactory",
    "DatasetShareFactory",
    "DatasetVersionFactory",
    "DeletionCertificateFactory",
    "DifferenceFactory",
    "InvoiceFactory",
    "JobEventFactory",
    "JobFactory",
    "LogChunkFactory",
    "MembershipFactory",
    "OfferingFactory",
    "OrganizationFactory",
    "PriceFactory",
    "ProjectFactory",
    "ProviderAccountFactory",
    "ProviderFactory",
    "RegistryLoginFactory",
    "SiteFactory",
    "SpendRequestFactory",
    "StaffFactory",
    "SweepFactory",
    "SweepTaskFactory",
    "UserFactory",
]
