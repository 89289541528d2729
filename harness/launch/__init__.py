"""Launchers: they run jobs on this machine or a cluster. The only folder that starts processes."""
