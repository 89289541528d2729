"""The tables of a report, each from the evidence."""
