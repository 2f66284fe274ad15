"""Slurm by its commands over SSH, files by SFTP: what a computing cluster offers to every customer with an account."""

from portal.providers.slurm_ssh.adapter import SlurmSsh

__all__ = ["SlurmSsh"]
