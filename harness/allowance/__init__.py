"""A sweep on a budget of time or money: what it buys, and where the next seeds go."""
