import factory
from factory.django import DjangoModelFactory

from portal.accounts.models import Membership, Organization, Project, RegistryLogin, User
from portal.accounts.roles import Role
from portal.core.sealing import seal

PASSWORD = "correct horse battery"


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"user{n}@example.jp")
    family_name = "山田"
    given_name = "花子"

    @classmethod
    def _create(cls, model_class: type[User], *args: object, **kwargs: object) -> User:
        """A person who can sign in: with PASSWORD and a verified address."""
        from allauth.account.models import EmailAddress

        user = User.objects.create_user(password=kwargs.pop("password", PASSWORD), **kwargs)  # type: ignore[arg-type]
        EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
        return user


class StaffFactory(UserFactory):
    is_staff = True

    @classmethod
    def _create(cls, model_class: type[User], *args: object, **kwargs: object) -> User:
        """With an authenticator app, as the desk asks of them."""
        from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

        user = super()._create(model_class, *args, **kwargs)
        TOTP.activate(user, generate_totp_secret())
        return user


class OrganizationFactory(DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    name = factory.Sequence(lambda n: f"株式会社テスト{n}")
    kind = "startup"


class ProjectFactory(DjangoModelFactory[Project]):
    class Meta:
        model = Project

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda n: f"llm-tuning-{n}")


class MembershipFactory(DjangoModelFactory[Membership]):
    class Meta:
        model = Membership

    user = factory.SubFactory(UserFactory)
    organization = factory.SubFactory(OrganizationFactory)
    project = None
    role = Role.MEMBER


class RegistryLoginFactory(DjangoModelFactory[RegistryLogin]):
    class Meta:
        model = RegistryLogin

    organization = factory.SubFactory(OrganizationFactory)
    hostname = factory.Sequence(lambda n: f"registry-{n}.example.jp")
    username = "robot"
    changed_by = factory.SubFactory(UserFactory)

    @factory.lazy_attribute
    def sealed_password(self) -> str:
        return seal({"password": "canary-password"})
