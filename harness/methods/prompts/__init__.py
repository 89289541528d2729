"""Methods that learn virtual tokens: vectors before the input, or keys and values in every layer."""
