"""The pages of jobs: creating (the form), listing, showing (one job and its tabs), logs, stopping."""
