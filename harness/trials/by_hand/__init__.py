"""Single trials and scores started from the command line, outside a sweep."""
