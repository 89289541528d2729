"""The training loop, its optimizers and schedules, and checkpoints that survive a kill."""
