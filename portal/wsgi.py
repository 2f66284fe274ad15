"""The web process: `granian --interface wsgi portal.wsgi:application`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

from portal.core.requests import Handler  # noqa: E402  needs the settings
from portal.datasets.places import refuse_to_start_abroad  # noqa: E402

refuse_to_start_abroad()  # commands and workers make Django's checks by themselves

application = Handler()
