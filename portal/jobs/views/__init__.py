"""The pages of jobs: creating (the form), listing (with filtering, saving, many, comparing), showing (one job and its
tabs), logs, stopping."""
