"""Studies and samplers. The only folder that uses Optuna."""
