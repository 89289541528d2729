"""Scores of answers by another language model, asked through an endpoint."""
