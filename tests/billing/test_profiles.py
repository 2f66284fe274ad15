from portal.accounts.models import Organization, User
from portal.audit.models import AuditEvent
from portal.billing.models import BillingProfile
from portal.billing.profiles import profile_of, set_profile

VALUES = {
    "name": "株式会社ミライ 経理部",
    "department": "",
    "postal_code": "100-0001",
    "address": "東京都千代田区",
    "purchase_order": "PO-1",
    "payment_term_days": 45,
}


def test_what_changes_is_stored_and_told_and_what_does_not_is_not(organization: Organization, owner: User) -> None:
    set_profile(organization, VALUES, by=owner)
    set_profile(organization, VALUES, by=owner)
    set_profile(organization, {**VALUES, "purchase_order": "PO-2"}, by=owner)
    profile = BillingProfile.objects.get()
    assert {name: getattr(profile, name) for name in VALUES} == {**VALUES, "purchase_order": "PO-2"}
    assert profile.updated_by == owner
    told = AuditEvent.objects.filter(act="invoice_address.set").order_by("sequence")
    assert [e.detail for e in told] == [
        {name: value for name, value in VALUES.items() if name != "department"},
        {"purchase_order": "PO-2"},
    ]


def test_an_organization_that_set_none_has_an_empty_one(organization: Organization) -> None:
    assert (profile_of(organization).name, profile_of(organization).payment_term_days) == ("", 30)
    assert not BillingProfile.objects.exists()
