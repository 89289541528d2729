"""Methods that train few parameters other than low-rank factors: scales, norms, biases, rotations."""
