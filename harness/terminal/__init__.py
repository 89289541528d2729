"""A command in its terminal: the present phase of its work, and remarks of libraries kept off it."""
