"""Optuna studies and samplers. The only folder that imports Optuna's samplers and storages."""
