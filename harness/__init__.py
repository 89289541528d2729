"""Search for the best fine-tuning method, rank and learning rate, and their cost in forgetting."""

__version__ = "0.1.0"
