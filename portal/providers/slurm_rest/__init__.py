"""Slurm over slurmrestd, for a cluster that opens it behind a gateway. Facts: Debian 12's Slurm, SchedMD's texts."""

from portal.providers.slurm_rest.adapter import SlurmRest

__all__ = ["SlurmRest"]
