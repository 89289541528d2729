"""The rule that recommends, its reasons, its cautions, and what would change it."""
