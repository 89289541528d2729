"""Search, pruning, planning and confirmation of finalists. The only folder that uses Optuna."""
