from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "portal.jobs"
    label = "jobs"

    def ready(self) -> None:
        from portal.billing import summaries
        from portal.jobs.states import JobState

        summaries.state_of_job = JobState
