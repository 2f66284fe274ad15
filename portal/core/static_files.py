"""Static files under hashed names, and under their own where `collectstatic` has not run: never an error."""

from __future__ import annotations

import structlog
from whitenoise.storage import CompressedManifestStaticFilesStorage

log = structlog.get_logger(__name__)


class HashedFiles(CompressedManifestStaticFilesStorage):
    """A host without the manifest would fail in every page, the error pages included. There a file's own name does:
    the web process then serves it from the code (settings.WHITENOISE_USE_FINDERS), only not cached for long."""

    _told = False

    def stored_name(self, name: str) -> str:
        try:
            return str(super().stored_name(name))
        except ValueError:
            if not self._told:
                self._told = True
                log.error("static files are not collected on this host: run manage.py collectstatic", file=name)
            return name
