"""From the command line to checked configuration. The only folder that knows Hydra."""
