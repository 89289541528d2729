"""Composition of the command line into checked configuration. The only folder that knows Hydra."""
