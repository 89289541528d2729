"""The search of each method: its settings with their outcomes, and what the outcomes depend on."""
