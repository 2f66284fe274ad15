"""The web process: `granian --interface wsgi portal.wsgi:application`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

from portal.core.requests import Handler  # noqa: E402  needs the settings

application = Handler()
