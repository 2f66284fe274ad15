"""Where a dataset is kept besides the primary site: somebody wishes it here, workers make it so."""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.celery import nudge
from portal.datasets import drafts, tasks
from portal.datasets.models import Dataset, Keeping, StorageSite


class KeepingRefused(ValidationError):
    """The dataset cannot be kept there; the message says why."""


def keep_at(dataset: Dataset, slugs: Collection[str], *, by: User) -> bool:
    """At the primary site and exactly these (slugs). Copies of all files follow, those of later files too; at sites
    that are left out the bytes are removed. False: it was so already. Raises NotPermitted, KeepingRefused.
    """
    require(by, Permission.UPLOAD, dataset.project)
    chosen = {site.slug: site for site in StorageSite.objects.filter(slug__in=slugs, enabled=True, is_primary=False)}
    if unknown := sorted(set(slugs) - set(chosen)):
        raise KeepingRefused(
            _("There is no storage site “%(name)s”. Reload the page and choose again.") % {"name": unknown[0]}
        )
    with transaction.atomic():
        if drafts.lock(dataset.pk).removed_at:
            raise KeepingRefused(_("This dataset was deleted. Choose another dataset."))
        known = {keeping.site.slug: keeping for keeping in dataset.keepings.select_related("site").order_by("pk")}
        added = [site for slug, site in chosen.items() if slug not in known or known[slug].ending]
        # What is kept at a site that is switched off cannot be removed there now: it stays as it is.
        ended = [k for slug, k in known.items() if slug not in chosen and not k.ending and k.site.enabled]
        changed = [_begin(dataset, site, by) for site in added] + [_end(keeping) for keeping in ended]
        for keeping in changed:
            nudge(tasks.plan_copies, keeping.pk)
        if changed:
            record(
                "dataset.kept_at",
                f"dataset:{dataset.code}",
                actor=f"user:{by.pk}",
                chain=dataset.organization.code,
                detail={"sites": sorted(chosen)},
            )
    return bool(changed)


def _begin(dataset: Dataset, site: StorageSite, by: User) -> Keeping:
    wish = {"added_by": by, "ending": False, "planned_to": 0, "planned": False}
    return Keeping.objects.update_or_create(dataset=dataset, site=site, defaults=wish)[0]


def _end(keeping: Keeping) -> Keeping:
    keeping.ending, keeping.planned = True, False
    keeping.save(update_fields=["ending", "planned"])
    return keeping
