"""Methods that train selected parameters of the base, and the scores that select them."""
