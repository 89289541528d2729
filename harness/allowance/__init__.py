"""Budgets: run a sweep within an amount of time or money, and race its finalists for seeds."""
