"""A dataset made from inside the portal's own environment:
`manage.py shell -c "from tests.faults.dataset import send_and_keep; send_and_keep('tokyo')"` prints its code.
"""

from __future__ import annotations

from portal.accounts.models import Project, User
from portal.datasets import storage, uploading
from portal.datasets.keeping import keep_at


def send_and_keep(site: str) -> None:
    """One file of the demo's owner, sent as the plain form does, and to be kept at that site (slug) too."""
    owner = User.objects.get(email="owner@demo.example")
    project = Project.objects.open().filter(organization__memberships__user=owner).order_by("pk")[0]
    file = uploading.begin_plain(project, name="words.txt", by=owner, dataset_name="words")
    storage.put_bytes(file.storage_key, b"words")
    uploading.posted(file)
    keep_at(file.dataset, [site], by=owner)
    print(file.dataset.code)
