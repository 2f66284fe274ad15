from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.manage_email import list_email_addresses
from allauth.decorators import rate_limit
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext as _
from django.utils.translation import override
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.accounts import emails, invitations, membership, registries
from portal.accounts import projects as opening
from portal.accounts.access import access_of, require
from portal.accounts.adapters import remember_language
from portal.accounts.context import choose, current_of, forget_current
from portal.accounts.forms import (
    HandOverForm,
    InviteForm,
    MemberForm,
    NameForm,
    NewRegistryForm,
    OrganizationForm,
    ProfileForm,
    ProjectForm,
    RegistryForm,
    posted,
    roles_to_give,
)
from portal.accounts.membership import Refused
from portal.accounts.models import Invitation, Membership, Organization, Project, RegistryLogin, User
from portal.accounts.roles import MATRIX, Permission, Role, may_give

PAGE = 25

View = Callable[..., HttpResponse]
page = require_http_methods(["GET", "HEAD", "POST"])


def with_organization(view: View) -> View:
    """Signed in, and somewhere: who belongs nowhere yet is asked to begin."""

    @login_required
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if current_of(request).organization is None:
            return redirect("home:start")
        return view(request, *args, **kwargs)

    return wrapped


# --- oneself ---------------------------------------------------------------------------------------------------------
@page
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    user = _user(request)
    names = {"family_name": user.family_name, "given_name": user.given_name, "language": user.language}
    form = ProfileForm(posted(request), initial=names)
    if request.method == "POST" and form.is_valid():
        membership.edit_person(user, **form.cleaned_data)
        with override(user.language):
            messages.success(request, _("Your profile was saved."))
        response = redirect("accounts:profile")
        remember_language(response, user.language)
        return response
    factors = Authenticator.objects.filter(user=user).values_list("type", flat=True)
    context = {
        "form": form,
        "addresses": list_email_addresses(request, user),
        "has_totp": Authenticator.Type.TOTP in factors,
        "passkeys": sum(1 for kind in factors if kind == Authenticator.Type.WEBAUTHN),
    }
    return _page(request, "accounts/profile.html", context, form)


@require_POST
@login_required
def switch(request: HttpRequest) -> HttpResponse:
    """`organization` is a code, `project` a code or "" for all; `next` a path of this site."""
    own = Organization.objects.visible_to(_user(request))
    organization = get_object_or_404(own, code=_code(request, "organization"))
    project = None
    if code := _code(request, "project"):
        projects = Project.objects.visible_to(_user(request)).open()
        project = get_object_or_404(projects, code=code, organization=organization)
    choose(request, organization=organization, project=project)
    target = request.POST.get("next", "")
    # A path only: a host of our own would do too, but nothing here needs one.
    return redirect(target if target.startswith("/") and url_has_allowed_host_and_scheme(target, None) else "/")


# --- the organization ------------------------------------------------------------------------------------------------
@page
@with_organization
def organization(request: HttpRequest) -> HttpResponse:
    here = _here(request)
    can_edit = access_of(request.user).may_in(here, Permission.MANAGE_ORGANIZATION)
    form = OrganizationForm(posted(request), initial={"name": here.name, "kind": here.kind})
    if request.method == "POST":
        require(request.user, Permission.MANAGE_ORGANIZATION, here)
        if form.is_valid():
            membership.edit_organization(here, **form.cleaned_data, by=_user(request))
            messages.success(request, _("The organization was saved."))
            return redirect("accounts:organization")
    owners = Membership.objects.filter(organization=here).owners().select_related("user").order_by("pk")[:10]
    context = {
        "organization": here,
        "form": form,
        "can_edit": can_edit,
        "can_keep_logins": access_of(request.user).may_in(here, Permission.MANAGE_PROJECTS),
        "owners": [m.user for m in owners],
    }
    return _page(request, "accounts/organization.html", context, form)


@page
@with_organization
def hand_over(request: HttpRequest) -> HttpResponse:
    require(request.user, Permission.MANAGE_ORGANIZATION, _here(request))
    answer: HttpResponse = _hand_over(request)
    return answer


@reauthentication_required(app="portal.accounts")  # type: ignore[untyped-decorator]
def _hand_over(request: HttpRequest) -> HttpResponse:
    here, user = _here(request), _user(request)
    form = HandOverForm(posted(request), organization=here, by=user)
    if request.method == "POST" and form.is_valid():
        to: User = form.cleaned_data["to"]
        if _done(form, lambda: membership.hand_over(here, to=to, by=user)):
            forget_current(request)
            emails.send_ownership(here, to=to, by=user)
            messages.success(request, _("%(person)s is the owner now. You are a manager.") % {"person": to})
            return redirect("accounts:organization")
    others = form.fields["to"].queryset.exists()  # type: ignore[attr-defined]
    return _page(request, "accounts/hand_over.html", {"organization": here, "form": form, "others": others}, form)


@page
@with_organization
def leave(request: HttpRequest) -> HttpResponse:
    here = _here(request)
    error = ""
    if request.method == "POST":
        try:
            membership.leave(here, by=_user(request))
        except Refused as refusal:
            error = str(refusal)
        else:
            forget_current(request)
            messages.success(request, _("You left %(organization)s.") % {"organization": here})
            return redirect("/")
    mine = Membership.objects.filter(user=_user(request), organization=here, role=Role.OWNER)
    others = Membership.objects.filter(organization=here).owners().exclude(user=_user(request))
    context = {"organization": here, "error": error, "is_last_owner": mine.exists() and not others.exists()}
    return render(request, "accounts/leave.html", context, status=422 if error else 200)


# --- members ---------------------------------------------------------------------------------------------------------
@require_safe
@with_organization
def members(request: HttpRequest) -> HttpResponse:
    here, user = _here(request), _user(request)
    people = Membership.objects.visible_to(user).select_related("user", "project", "organization")
    rows, newer, older = _slice(request, people.filter(organization=here))
    waiting = Invitation.objects.none()
    can_invite = any(_places(request, here))
    if can_invite:
        waiting = Invitation.objects.visible_to(user).filter(organization=here).open()
        waiting = waiting.select_related("project", "invited_by").order_by("-pk")[: invitations.MAX_OPEN]
    context = {
        "organization": here,
        "rows": [(row, _may_change(user, row)) for row in rows],
        "invitations": waiting,
        "can_invite": can_invite,
        "newer_url": newer,
        "older_url": older,
        "roles": list(Role),
        "matrix": [(p.label, [p in MATRIX[role] for role in Role]) for p in Permission],
    }
    return render(request, "accounts/members.html", context)


@page
@with_organization
@rate_limit(action="invite")  # type: ignore[untyped-decorator]
def invite(request: HttpRequest) -> HttpResponse:
    here, user = _here(request), _user(request)
    in_organization, projects = _places(request, here)
    if not in_organization and not projects:
        require(user, Permission.MANAGE_MEMBERS, here)
    form = InviteForm(
        posted(request), organization=here, projects=projects, by=user, initial={"role": Role.MEMBER.value}
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data

        def act() -> tuple[Invitation, str]:
            return invitations.invite(here, email=data["email"], role=data["role"], project=form.project, by=user)

        if made := _done(form, act):
            _mail(request, *made)
            return redirect("accounts:members")
    context = {"organization": here, "form": form, "roles": _role_lines(roles_to_give(user, here, None) or None)}
    return _page(request, "accounts/invite.html", context, form)


@page
@with_organization
def member(request: HttpRequest, pk: int) -> HttpResponse:
    row = _membership(request, pk)
    user = _user(request)
    require(user, Permission.MANAGE_MEMBERS, row.project or row.organization)
    form = MemberForm(posted(request), membership=row, by=user, initial={"role": row.role, "last_day": row.last_day})
    if request.method == "POST" and form.is_valid():
        role, expires_at = form.cleaned_data["role"], form.expires_at
        if _done(form, lambda: membership.change_member(row, role=role, expires_at=expires_at, by=user)):
            messages.success(request, _("%(person)s was changed.") % {"person": row.user})
            return redirect("accounts:members")
    context = {"row": row, "form": form, "may_change": _may_change(user, row), "roles": _role_lines()}
    return _page(request, "accounts/member.html", context, form)


@page
@with_organization
def remove_member(request: HttpRequest, pk: int) -> HttpResponse:
    row = _membership(request, pk)
    user = _user(request)
    require(user, Permission.MANAGE_MEMBERS, row.project or row.organization)
    error = ""
    if request.method == "POST":
        try:
            membership.remove_member(row, by=user)
        except Refused as refusal:
            error = str(refusal)
        else:
            messages.success(request, _("%(person)s was removed.") % {"person": row.user})
            return redirect("accounts:members")
    return render(request, "accounts/member_remove.html", {"row": row, "error": error}, status=422 if error else 200)


@require_POST
@with_organization
@rate_limit(action="invite")  # type: ignore[untyped-decorator]
def resend_invitation(request: HttpRequest, pk: int) -> HttpResponse:
    row = _invitation(request, pk)
    try:
        token = invitations.renew(row, by=_user(request))
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        _mail(request, row, token)
    return redirect("accounts:members")


@require_POST
@with_organization
def revoke_invitation(request: HttpRequest, pk: int) -> HttpResponse:
    row = _invitation(request, pk)
    try:
        invitations.withdraw(row, by=_user(request))
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, _("The invitation for %(email)s was withdrawn.") % {"email": row.email})
    return redirect("accounts:members")


# --- projects --------------------------------------------------------------------------------------------------------
@require_safe
@with_organization
def projects(request: HttpRequest) -> HttpResponse:
    here, user = _here(request), _user(request)
    access = access_of(user)
    own = Project.objects.visible_to(user).filter(organization=here).select_related("organization")
    rows, newer, older = _slice(request, own)
    context = {
        "organization": here,
        "rows": [(row, access.may_in(row, Permission.MANAGE_PROJECTS)) for row in rows],
        "can_create": access.may_in(here, Permission.MANAGE_PROJECTS),
        "newer_url": newer,
        "older_url": older,
    }
    return render(request, "accounts/projects.html", context)


@page
@with_organization
def new_project(request: HttpRequest) -> HttpResponse:
    here, user = _here(request), _user(request)
    require(user, Permission.MANAGE_PROJECTS, here)
    form = ProjectForm(posted(request))
    if request.method == "POST" and form.is_valid():
        made = _done(form, lambda: opening.create_project(here, **form.cleaned_data, by=user), field="name")
        if made:
            choose(request, organization=here, project=made)
            messages.success(request, _("The project %(name)s was created.") % {"name": made})
            return redirect("accounts:projects")
    return _page(request, "accounts/project_new.html", {"organization": here, "form": form}, form)


@page
@with_organization
def project(request: HttpRequest, code: str) -> HttpResponse:
    row, user = _project(request, code), _user(request)
    require(user, Permission.MANAGE_PROJECTS, row)
    known = {"name": row.name, "description": row.description, "ends_on": row.ends_on}
    form = ProjectForm(posted(request), initial=known)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        if _done(form, lambda: opening.edit_project(row, **data, by=user), field="name"):
            messages.success(request, _("The project was saved."))
            return redirect("accounts:projects")
    return _page(request, "accounts/project.html", {"project": row, "form": form}, form)


@page
@with_organization
def close_project(request: HttpRequest, code: str) -> HttpResponse:
    row, user = _project(request, code), _user(request)
    require(user, Permission.MANAGE_PROJECTS, row)
    if request.method == "POST":
        opening.close_project(row, by=user)
        forget_current(request)
        messages.success(request, _("The project %(name)s was closed.") % {"name": row})
        return redirect("accounts:projects")
    return render(request, "accounts/project_close.html", {"project": row})


@require_POST
@with_organization
def reopen_project(request: HttpRequest, code: str) -> HttpResponse:
    row = _project(request, code)
    require(request.user, Permission.MANAGE_PROJECTS, row)
    opening.reopen_project(row, by=_user(request))
    messages.success(request, _("The project %(name)s is open again.") % {"name": row})
    return redirect("accounts:projects")


# --- logins for container registries ---------------------------------------------------------------------------------
@require_safe
@with_organization
def kept_registries(request: HttpRequest) -> HttpResponse:
    here = _here(request)
    require(request.user, Permission.MANAGE_PROJECTS, here)
    rows, newer, older = _slice(request, here.registry_logins.select_related("changed_by"))
    context = {"organization": here, "rows": rows, "newer_url": newer, "older_url": older}
    return render(request, "accounts/registries.html", context)


@page
@with_organization
def new_registry(request: HttpRequest) -> HttpResponse:
    here, user = _here(request), _user(request)
    require(user, Permission.MANAGE_PROJECTS, here)
    form = NewRegistryForm(posted(request))
    if request.method == "POST" and form.is_valid():
        made = _done(form, lambda: registries.keep_login(here, **form.cleaned_data, by=user), field="hostname")
        if made:
            messages.success(request, _("The login for %(registry)s is kept.") % {"registry": made})
            return redirect("accounts:registries")
    return _page(request, "accounts/registry.html", {"form": form}, form)


@page
@with_organization
def registry(request: HttpRequest, pk: int) -> HttpResponse:
    row = _registry(request, pk)
    form = RegistryForm(posted(request), initial={"username": row.username})
    if request.method == "POST" and form.is_valid():
        registries.replace_login(row, **form.cleaned_data, by=_user(request))
        messages.success(request, _("The login for %(registry)s was replaced.") % {"registry": row})
        return redirect("accounts:registries")
    return _page(request, "accounts/registry.html", {"row": row, "form": form}, form)


@page
@with_organization
def remove_registry(request: HttpRequest, pk: int) -> HttpResponse:
    row = _registry(request, pk)
    if request.method == "POST":
        registries.remove_login(row, by=_user(request))
        messages.success(request, _("The login for %(registry)s was removed.") % {"registry": row})
        return redirect("accounts:registries")
    return render(request, "accounts/registry_remove.html", {"row": row})


# --- an invitation, seen by the person invited -----------------------------------------------------------------------
@page
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    row = invitations.find(token)
    if row is None:
        raise Http404
    try:
        invitations.require_open(row)
    except Refused as refusal:
        return render(request, "accounts/invitation_gone.html", {"reason": str(refusal)}, status=410)
    context: dict[str, Any] = {"invitation": row, "role": Role(row.role), "token": token}
    if not request.user.is_authenticated:
        if request.method == "POST":
            return redirect(f"{reverse('account_login')}?{urlencode({'next': request.path})}")
        context["query"] = urlencode({"next": request.path, "email": row.email})
        return render(request, "accounts/invitation.html", context)
    return cast(HttpResponse, _join(request, row, context))


@rate_limit(action="accept_invitation")  # type: ignore[untyped-decorator]
def _join(request: HttpRequest, row: Invitation, context: dict[str, Any]) -> HttpResponse:
    user = _user(request)
    if not invitations.is_for(row, user):
        context["other_address"] = str(invitations.ForAnotherAddress())
        return render(request, "accounts/invitation.html", context, status=422 if request.method == "POST" else 200)
    form = None if user.get_full_name() else NameForm(posted(request))
    if request.method == "POST" and (form is None or form.is_valid()):
        if form:
            membership.edit_person(user, **form.cleaned_data, language=user.language)
        try:
            invitations.accept(row, by=user)
        except Refused as refusal:  # somebody was quicker between the look and the act
            return render(request, "accounts/invitation_gone.html", {"reason": str(refusal)}, status=410)
        project = row.project if row.project and row.project.is_open else None
        choose(request, organization=row.organization, project=project)
        messages.success(request, _("Welcome to %(organization)s.") % {"organization": row.organization})
        return redirect("/")
    return _page(request, "accounts/invitation.html", {**context, "form": form}, form)


# --- pieces ----------------------------------------------------------------------------------------------------------
def _user(request: HttpRequest) -> User:
    return cast(User, request.user)  # behind login_required


def _here(request: HttpRequest) -> Organization:
    return cast(Organization, current_of(request).organization)  # behind with_organization


def _code(request: HttpRequest, name: str) -> str:
    return request.POST.get(name, "").replace("\x00", "")


def _project(request: HttpRequest, code: str) -> Project:
    rows = Project.objects.visible_to(_user(request)).select_related("organization")
    return get_object_or_404(rows, code=code.replace("\x00", ""))


def _membership(request: HttpRequest, pk: int) -> Membership:
    rows = Membership.objects.visible_to(_user(request)).select_related("user", "project", "organization")
    return get_object_or_404(rows, pk=pk)


def _invitation(request: HttpRequest, pk: int) -> Invitation:
    rows = Invitation.objects.visible_to(_user(request)).select_related("project", "organization", "invited_by")
    return get_object_or_404(rows, pk=pk)


def _registry(request: HttpRequest, pk: int) -> RegistryLogin:
    return get_object_or_404(RegistryLogin.objects.visible_to(_user(request)).select_related("organization"), pk=pk)


def _places(request: HttpRequest, here: Organization) -> tuple[bool, list[Project]]:
    """Whether the person may invite into the organization, and the open projects they may invite into."""
    access = access_of(request.user)
    own = current_of(request).projects
    return (
        access.may_in(here, Permission.MANAGE_MEMBERS),
        [p for p in own if access.may_in(p, Permission.MANAGE_MEMBERS)],
    )


def _may_change(user: User, row: Membership) -> bool:
    access = access_of(user)
    own = [access.by_organization.get(row.organization_id)]
    if row.project_id:
        own.append(access.by_project.get(row.project_id))
    return any(may_give(role, row.role) for role in own)


def _role_lines(roles: set[str] | None = None) -> list[tuple[Role, list[str]]]:
    """Each role with what it may do."""
    offered = [role for role in Role if roles is None or role.value in roles]
    return [(role, [str(p.label) for p in Permission if p in MATRIX[role]]) for role in offered]


def _mail(request: HttpRequest, row: Invitation, token: str) -> None:
    if emails.send_invitation(row, token):
        messages.success(request, _("An invitation was sent to %(email)s.") % {"email": row.email})
    else:
        messages.error(
            request,
            _("The invitation is made, but the mail server did not take the mail. Send it again in a few minutes."),
        )


def _done(form: Any, act: Callable[[], Any], *, field: str | None = None) -> Any:
    """What the use-case returned; None when it refused, with its sentence on the form."""
    try:
        return act() or True
    except Refused as refusal:
        form.add_error(field, str(refusal))
        return None


def _page(request: HttpRequest, template: str, context: dict[str, Any], form: Any) -> HttpResponse:
    status = 422 if request.method == "POST" and form is not None else 200
    return render(request, template, context, status=status)


def _slice(request: HttpRequest, rows: Any) -> tuple[list[Any], str, str]:
    """Newest first by keyset: the rows of this page and the URLs of its neighbours, "" where there are none."""
    try:
        before, after = (int(request.GET.get(name, "0")) for name in ("before", "after"))
    except ValueError:
        raise Http404 from None
    if after:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        newer, older = len(found) > PAGE, True
        found = found[:PAGE][::-1]
    else:
        found = list((rows.filter(pk__lt=before) if before else rows).order_by("-pk")[: PAGE + 1])
        newer, older = bool(before), len(found) > PAGE
        found = found[:PAGE]
    if not found:
        return [], "", ""
    return (
        found,
        f"?after={found[0].pk}" if newer else "",
        f"?before={found[-1].pk}" if older else "",
    )
