"""What to try next, when to stop it, and which to try again: the only folder that knows Optuna."""
