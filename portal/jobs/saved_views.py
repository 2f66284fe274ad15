"""Filters of the list of jobs that somebody keeps under a name, for themselves and one organization."""

from __future__ import annotations

from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, User
from portal.core.plain_text import has_hidden_letters
from portal.jobs.models import SavedView

MOST = 20
NAME_MAX = 40


class NotSaved(Exception):
    """The view was not saved; `message` says why and what to do."""

    def __init__(self, message: str | Promise) -> None:
        super().__init__(message)
        self.message = message


def views_of(user: User, organization: Organization) -> list[SavedView]:
    """By name. One query."""
    return list(SavedView.objects.filter(user=user, organization=organization).order_by("name", "pk"))


def save(user: User, organization: Organization, *, name: str, query: str) -> SavedView:
    """`query`: the URL's, as filtering.Wanted writes it. The same name and query again is the same view. Raises
    NotSaved."""
    name = _name_of(name)
    with transaction.atomic():
        own = _locked(user, organization)
        known = next((view for view in own if view.name == name), None)
        if known and known.query == query:
            return known
        if known:
            raise NotSaved(_("You already have a view of that name. Choose another name."))
        if len(own) >= MOST:
            raise NotSaved(_("You can keep up to 20 views. Delete one first."))
        return SavedView.objects.create(user=user, organization=organization, name=name, query=query)


def rename(view: SavedView, *, name: str) -> None:
    """Raises NotSaved."""
    name = _name_of(name)
    with transaction.atomic():
        own = _locked(view.user, view.organization)
        if any(other.name == name and other.pk != view.pk for other in own):
            raise NotSaved(_("You already have a view of that name. Choose another name."))
        SavedView.objects.filter(pk=view.pk).update(name=name)


def _locked(user: User, organization: Organization) -> list[SavedView]:
    """One at a time counts and writes for a person."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    return views_of(user, organization)


def _name_of(text: str) -> str:
    name = " ".join(text.replace("\0", "").split())
    if not name:
        raise NotSaved(_("Enter a name for the view."))
    if len(name) > NAME_MAX:
        raise NotSaved(_("A name can have up to 40 characters. Shorten it."))
    if has_hidden_letters(name):
        raise NotSaved(_("The name contains invisible or control characters. Type it again."))
    return name
