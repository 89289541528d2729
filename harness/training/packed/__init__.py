"""Training of several LoRA adapters at once on one frozen base, each as if it were alone."""
