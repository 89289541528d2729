"""Studies and samplers. The only folder that knows Optuna."""
