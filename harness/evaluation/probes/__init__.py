"""Questions to a tuned model: instructions, agreement with the base, knowledge."""
