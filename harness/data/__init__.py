"""From files and hubs to batches: sources, columns, splits, token sequences, padded tensors.

Nothing is imported here: the driver reads `examples` without torch, `batches` alone needs it.
"""
