from django.core.management.base import BaseCommand, CommandError

from portal.home import demo


class Command(BaseCommand):
    help = "Make the demo's people and connect the emulators; may run any number of times, never in production."

    def handle(self, *args: object, **options: object) -> None:
        try:
            demo.seed()
        except demo.NotHere as error:
            raise CommandError(str(demo.NotHere.__doc__)) from error
        except demo.UnknownProvider as error:
            raise CommandError(str(error)) from error
