from portal.datasets.models.datasets import Dataset, DatasetQuerySet
from portal.datasets.models.deletions import (
    DeletionCause,
    DeletionCertificate,
    DeletionCertificateQuerySet,
    DeletionEntry,
    Leftover,
)
from portal.datasets.models.files import (
    LAST_LETTER,
    NEVER_ARRIVED,
    NOT_READY,
    PATH_BEGINNING,
    PATH_BYTES,
    UNFINISHED,
    DataFile,
    DataFileQuerySet,
    FileFailure,
    FileState,
)
from portal.datasets.models.shares import DatasetShare, DatasetShareQuerySet
from portal.datasets.models.sites import Copy, CopyState, Keeping, PlaceAct, PlaceEvent, StorageSite
from portal.datasets.models.sums import DatasetTally, StorageAllowance, StoredBytes
from portal.datasets.models.versions import DatasetVersion, DatasetVersionQuerySet, VersionState

__all__ = [
    "LAST_LETTER",
    "NEVER_ARRIVED",
    "NOT_READY",
    "PATH_BEGINNING",
    "PATH_BYTES",
    "UNFINISHED",
    "Copy",
    "CopyState",
    "DataFile",
    "DataFileQuerySet",
    "Dataset",
    "DatasetQuerySet",
    "DatasetShare",
    "DatasetShareQuerySet",
    "DatasetTally",
    "DatasetVersion",
    "DatasetVersionQuerySet",
    "DeletionCause",
    "DeletionCertificate",
    "DeletionCertificateQuerySet",
    "DeletionEntry",
    "FileFailure",
    "FileState",
    "Keeping",
    "Leftover",
    "PlaceAct",
    "PlaceEvent",
    "StorageAllowance",
    "StorageSite",
    "StoredBytes",
    "VersionState",
]
