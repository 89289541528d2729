"""Results of a trial: its record, and the files beside it."""
