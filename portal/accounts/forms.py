"""Shapes of what people type here; allauth's own forms keep their rules and get our labels and limits."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, time, timedelta
from typing import Any, cast

from allauth.account import forms as account
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from allauth.mfa.webauthn import forms as webauthn
from django import forms
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import ProhibitNullCharactersValidator
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.access import access_of
from portal.accounts.models import LANGUAGES, Membership, Organization, OrganizationKind, Project, User
from portal.accounts.roles import Permission, Role, may_give
from portal.core.plain_text import has_hidden_letters

EMAIL_MAX_LENGTH = 254  # what the column holds
# A host as images name it: with a dot or a port, or it would be read as a folder of Docker Hub.
_REGISTRY = re.compile(r"(?=[^:]{1,253}(?:\Z|:))(?=.*[.:])[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")


def _one_line(text: str) -> None:
    """Line breaks would end a mail's subject; invisible letters make one name look like another."""
    if has_hidden_letters(text):
        raise ValidationError(_("Use one line without control characters."))


class Line(forms.CharField):
    """One line as people write it: NFC, so that equal names are equal; never NFKC, which changes 髙 and ①.

    `need` says beside the label when it must be filled, where that depends on another field.
    """

    def __init__(self, *, need: Any = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.need = need
        self.validators = [v for v in self.validators if not isinstance(v, ProhibitNullCharactersValidator)]
        self.validators.append(_one_line)  # also says what is wrong with a NUL

    def to_python(self, value: Any) -> str:
        return unicodedata.normalize("NFC", super().to_python(value) or "")


class EmailField(forms.EmailField):
    """Full-width letters from a Japanese keyboard are taken as what they mean."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", _("E-mail address"))
        kwargs.setdefault("widget", forms.EmailInput(attrs={"autocomplete": "email"}))
        super().__init__(max_length=EMAIL_MAX_LENGTH, **kwargs)

    def to_python(self, value: Any) -> str:
        return unicodedata.normalize("NFKC", super().to_python(value) or "").lower()


def posted(request: HttpRequest) -> QueryDict | None:
    """An empty POST is a form sent empty, which `request.POST or None` would take for a form not sent."""
    return request.POST if request.method == "POST" else None


# --- people ----------------------------------------------------------------------------------------------------------
class NameForm(forms.Form):
    family_name = Line(
        label=_("Family name"),
        max_length=50,
        required=False,
        need=_("One of the two"),
        widget=forms.TextInput(attrs={"autocomplete": "family-name"}),
    )
    given_name = Line(
        label=_("Given name"),
        max_length=50,
        required=False,
        need=_("One of the two"),
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        names = (cleaned.get("family_name"), cleaned.get("given_name"))
        if names == ("", ""):
            self.add_error("family_name", _("Enter a family name or a given name. One of the two is enough."))
        return cleaned


class ProfileForm(NameForm):
    language = forms.ChoiceField(
        label=_("Language"),
        choices=LANGUAGES,
        help_text=_("Of the pages and of the e-mails that the portal sends you."),
        widget=forms.RadioSelect(attrs={"data-look": "pills"}),
    )


class FoundingForm(NameForm):
    kind = forms.ChoiceField(
        label=_("Kind of organization"),
        choices=OrganizationKind.choices,
        widget=forms.RadioSelect(attrs={"data-look": "pills"}),
        error_messages={"required": _("Choose the kind of organization.")},
    )
    organization_name = Line(
        label=_("Organization name"),
        max_length=100,
        required=False,
        need=_("Required except for individuals"),
        help_text=_(
            "As it should appear on statements. As an individual you may leave it empty; your own name is used."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        named = cleaned.get("organization_name") or "organization_name" in self.errors
        if cleaned.get("kind") and cleaned["kind"] != OrganizationKind.INDIVIDUAL and not named:
            self.add_error("organization_name", _("Enter the organization's name."))
        return cleaned


# --- organization ----------------------------------------------------------------------------------------------------
class OrganizationForm(forms.Form):
    name = Line(
        label=_("Organization name"),
        max_length=100,
        error_messages={"required": _("Enter the organization's name.")},
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    kind = forms.ChoiceField(
        label=_("Kind of organization"),
        choices=OrganizationKind.choices,
        widget=forms.RadioSelect(attrs={"data-look": "pills"}),
        error_messages={"required": _("Choose the kind of organization.")},
    )


class RoleField(forms.ChoiceField):
    def __init__(self) -> None:
        super().__init__(
            label=pgettext_lazy("of a member", "Role"),
            choices=Role.choices,
            widget=forms.RadioSelect(attrs={"data-look": "pills"}),
            error_messages={"required": _("Choose a role.")},
        )

    def offer(self, roles: set[str]) -> None:
        self.choices = [choice for choice in Role.choices if choice[0] in roles]


class InviteForm(forms.Form):
    """`place` is "" for the whole organization, else a project's code; only places where the person may invite."""

    email = EmailField(
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={"required": _("Enter the e-mail address of the person.")},
    )
    place = forms.ChoiceField(label=_("Joins"), required=False, widget=forms.Select)
    role = RoleField()

    def __init__(
        self, *args: Any, organization: Organization, projects: list[Project], by: User, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        access = access_of(by)
        self.projects = {p.code: p for p in projects if access.may_in(p, Permission.MANAGE_MEMBERS)}
        everywhere = (
            [("", _("the whole organization"))] if access.may_in(organization, Permission.MANAGE_MEMBERS) else []
        )
        place = cast(forms.ChoiceField, self.fields["place"])
        place.choices = [*everywhere, *((code, project.name) for code, project in self.projects.items())]
        place.required = not everywhere
        roles = roles_to_give(by, organization, None)
        for project in self.projects.values():
            roles |= roles_to_give(by, organization, project)
        cast(RoleField, self.fields["role"]).offer(roles)

    @property
    def project(self) -> Project | None:
        return self.projects.get(self.cleaned_data["place"])


class MemberForm(forms.Form):
    role = RoleField()
    last_day = forms.DateField(
        label=_("Last day"),
        required=False,
        help_text=_("The membership ends by itself after this day. Leave it empty for no end."),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )

    def __init__(self, *args: Any, membership: Membership, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = roles_to_give(by, membership.organization, membership.project)
        cast(RoleField, self.fields["role"]).offer(roles - {Role.OWNER} if membership.project else roles)

    def clean_last_day(self) -> Any:
        return _near_future(self.cleaned_data["last_day"])

    @property
    def expires_at(self) -> datetime | None:
        """The first instant of the day after, in Japan."""
        last_day = self.cleaned_data["last_day"]
        return timezone.make_aware(datetime.combine(last_day + timedelta(days=1), time.min)) if last_day else None


class ProjectForm(forms.Form):
    name = Line(label=_("Project name"), max_length=60, error_messages={"required": _("Enter a project name.")})
    description = Line(label=_("Description"), max_length=300, required=False)
    ends_on = forms.DateField(
        label=_("Last day"),
        required=False,
        help_text=_("No new jobs after this day. Leave it empty for no end."),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )

    def clean_ends_on(self) -> Any:
        return _near_future(self.cleaned_data["ends_on"])


class RegistryForm(forms.Form):
    """Another user name and password for a registry; the password is never filled in."""

    username = Line(
        label=_("User name"),
        max_length=255,
        help_text=_("As the registry asks for it, for example $oauthtoken at nvcr.io."),
        error_messages={"required": _("Enter the user name at the registry.")},
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    password = Line(
        label=_("Password or access token"),
        max_length=8192,
        help_text=_("A token that can only read is enough. It is stored encrypted and never shown again."),
        error_messages={"required": _("Enter the password or access token.")},
        widget=forms.PasswordInput(attrs={"class": "mono", "autocomplete": "new-password"}),
    )


class NewRegistryForm(RegistryForm):
    hostname = Line(
        label=_("Registry"),
        max_length=300,
        help_text=_("The host as it stands in the image's name, for example ghcr.io; docker.io for Docker Hub."),
        error_messages={"required": _("Enter the registry's host name.")},
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    field_order = ["hostname", "username", "password"]

    def clean_hostname(self) -> str:
        """Copied from a browser's address bar is fine."""
        typed = unicodedata.normalize("NFKC", self.cleaned_data["hostname"]).lower()
        hostname = typed.removeprefix("https://").removeprefix("http://").rstrip("/")
        if not _REGISTRY.fullmatch(hostname):
            raise ValidationError(_("Enter the host name alone, without a path, for example ghcr.io or nvcr.io."))
        return hostname


class HandOverForm(forms.Form):
    to = forms.ModelChoiceField(
        label=_("New owner"),
        queryset=User.objects.none(),
        empty_label=_("Choose a person"),
        error_messages={"required": _("Choose the new owner.")},
        help_text=_("Only people who belong to the whole organization are in this list."),
    )

    def __init__(self, *args: Any, organization: Organization, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        here = Membership.objects.filter(organization=organization, project=None).active()
        to = cast("forms.ModelChoiceField[User]", self.fields["to"])
        others = User.objects.filter(memberships__in=here, is_active=True).exclude(pk=by.pk)
        to.queryset = others.order_by("family_name", "given_name", "email")


def roles_to_give(by: User, organization: Organization, project: Project | None) -> set[str]:
    access = access_of(by)
    own = [access.by_organization.get(organization.pk)]
    if project:
        own.append(access.by_project.get(project.pk))
    return {role.value for role in Role if any(may_give(mine, role) for mine in own)}


def _near_future(day: Any) -> Any:
    if day is None:
        return None
    today = timezone.localdate()
    if day < today:
        raise forms.ValidationError(_("Choose today or a later day."))
    if day > today + timedelta(days=3660):
        raise forms.ValidationError(_("Choose a day within ten years."))
    return day


# --- allauth's forms -------------------------------------------------------------------------------------------------
# Of settings.AUTH_PASSWORD_VALIDATORS, in one sentence.
PASSWORD_HINT = _("At least 10 characters; not only digits, no common password, nothing like your name or address.")


class Ours:
    """No placeholders, which vanish while one types; our labels; the column's limit."""

    fields: dict[str, forms.Field]
    labels = {
        "email": _("E-mail address"),
        "login": _("E-mail address"),
        "password": _("Password"),
        "oldpassword": _("Current password"),
        "password1": _("New password"),
        "password2": _("New password (again)"),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.labels.get(name, field.label)
            if name == "password1":
                field.help_text = PASSWORD_HINT
            if isinstance(field, forms.EmailField):
                field.max_length = EMAIL_MAX_LENGTH
                field.validators.append(_max_email)
                field.widget.attrs["maxlength"] = EMAIL_MAX_LENGTH


def _max_email(value: str) -> None:
    if len(value) > EMAIL_MAX_LENGTH:
        raise forms.ValidationError(_("This e-mail address is too long."))


class SignUpForm(Ours, account.SignupForm):
    labels = {"email": _("E-mail address"), "password1": _("Password")}

    def try_save(self, request: HttpRequest) -> Any:
        if self.account_already_exists:
            # The answer for an address that is taken must not be the quicker one.
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)


class LoginForm(Ours, account.LoginForm):
    pass


class EmailForm(Ours, account.AddEmailForm):
    labels = {"email": _("New e-mail address")}


class ChangePasswordForm(Ours, account.ChangePasswordForm):
    pass


class SetPasswordForm(Ours, account.SetPasswordForm):
    pass


class ResetPasswordForm(Ours, account.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(Ours, account.ResetPasswordKeyForm):
    pass


class ReauthenticateForm(Ours, account.ReauthenticateForm):
    pass


class CodeField(forms.CharField):
    """Read from a mail or a telephone and typed: full-width digits and letters count too."""

    def __init__(self) -> None:
        attrs = {"autocomplete": "one-time-code", "autocapitalize": "off", "spellcheck": "false"}
        super().__init__(label=_("Code"), max_length=40, widget=forms.TextInput(attrs=attrs))

    def to_python(self, value: Any) -> str:
        return unicodedata.normalize("NFKC", super().to_python(value) or "")


class _OneTimeCode(Ours):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"] = CodeField()


class VerifyEmailForm(_OneTimeCode, account.ConfirmEmailVerificationCodeForm):
    pass


class VerifyResetForm(_OneTimeCode, account.ConfirmPasswordResetCodeForm):
    pass


class AuthenticateForm(_OneTimeCode, mfa.AuthenticateForm):
    pass


class ReauthenticateCodeForm(_OneTimeCode, mfa.ReauthenticateForm):
    pass


class ActivateTOTPForm(_OneTimeCode, totp.ActivateTOTPForm):
    pass


class Credential:
    """What a browser sends for a passkey: the library raises many kinds of errors for what no browser would send."""

    CREDENTIAL_MAX = 20_000  # characters; a real one has some hundreds to a few thousand

    def full_clean(self) -> None:
        sent = cast(QueryDict, self.data).get("credential", "")  # type: ignore[has-type]
        if len(sent) > self.CREDENTIAL_MAX or sent.count("[") + sent.count("{") > 100:
            # Not even read: deeply nested JSON would break the form that shows it again.
            self.data = {**cast(QueryDict, self.data).dict(), "credential": ""}  # type: ignore[has-type]
        try:
            super().full_clean()  # type: ignore[misc]
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError):
            self.add_error(None, _("The passkey could not be checked. Try again."))  # type: ignore[attr-defined]
            return
        for errors in self.errors.values():  # type: ignore[attr-defined]
            for error in errors.as_data():
                if error.code == "incorrect_code":  # the library has one sentence for all, and it speaks of a code
                    error.message = _("This passkey was not accepted. Try again, or use another way.")


class AddPasskeyForm(Credential, Ours, webauthn.AddWebAuthnForm):
    labels = {
        "name": _("Name of the passkey"),
        "passwordless": _("Sign in with this passkey alone, without a password"),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = Line(
            label=self.labels["name"],
            max_length=60,
            required=False,
            initial=self.initial["name"],
            help_text=_("For example the device it is kept on."),
        )
        self.fields["passwordless"].initial = True
        self.fields["passwordless"].help_text = _("The device then asks for your fingerprint, face or PIN.")
        self.order_fields(["name", "passwordless", "credential"])


class EditPasskeyForm(Ours, webauthn.EditWebAuthnForm):
    labels = {"name": _("Name of the passkey")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = Line(label=self.labels["name"], max_length=60)


class PasskeyLoginForm(Credential, webauthn.LoginWebAuthnForm):
    pass


class PasskeyAuthenticateForm(Credential, webauthn.AuthenticateWebAuthnForm):
    pass


class PasskeyReauthenticateForm(Credential, webauthn.ReauthenticateWebAuthnForm):
    pass
