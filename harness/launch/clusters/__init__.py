"""Launchers for SLURM and Ray."""
