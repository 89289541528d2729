"""Steps of loading a base: location, fingerprints, modules without weights, quantization."""
