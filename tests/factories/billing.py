import factory
from factory.django import DjangoModelFactory

from portal.billing.models import BillingAccount
from tests.factories.accounts import OrganizationFactory


class BillingAccountFactory(DjangoModelFactory[BillingAccount]):
    class Meta:
        model = BillingAccount

    organization = factory.SubFactory(OrganizationFactory)
