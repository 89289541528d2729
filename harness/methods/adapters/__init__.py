"""Other small sets of parameters beside or inside the weights: scales, norms, rotations."""
