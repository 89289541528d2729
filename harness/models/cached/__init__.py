"""Forward passes with a cache of keys and values: generation, and shared virtual tokens."""
