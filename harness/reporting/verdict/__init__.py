"""Recommendation: rule, reasons, cautions, and conditions that would change it."""
