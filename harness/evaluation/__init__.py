"""Evaluation of quality and forgetting: likelihood, generated answers, general text, benchmarks."""
