"""Methods that add low-rank factors to weights: LoRA and its variants."""
