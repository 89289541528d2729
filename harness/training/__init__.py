"""Training loop, objective, optimizers, schedules, and checkpoints to resume from."""
