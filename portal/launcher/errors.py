"""The one exception of the launcher."""

from portal.launcher.messages import sentence


class CannotContinue(Exception):
    """Carries the one sentence that the user reads, with what to do next; the command ends with status 1."""

    def __init__(self, message: str, **values: object) -> None:
        super().__init__(sentence(message, **values))
