from django.conf import settings
from django.core.management.base import BaseCommand

from portal.catalog import seed


class Command(BaseCommand):
    help = "Load the offerings of the three clouds; may run any number of times."

    def handle(self, *args: object, **options: object) -> None:
        seed.load(demo=not settings.PRODUCTION)
