"""Methods that train a selected part of the base itself, and the scores that select it."""
