"""Tables of a report, each built from the evidence."""
