"""Tables of what the outcomes of a search depend on."""
