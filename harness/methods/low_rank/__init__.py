"""A product of two thin matrices beside each weight: LoRA, and what was made of it."""
