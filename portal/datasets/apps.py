from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "portal.datasets"
    label = "datasets"

    def ready(self) -> None:
        from portal.datasets import places  # noqa: F401 - its system check
