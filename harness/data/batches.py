"""Former name of ``harness.data.tokens.batches``, kept for scripts that import it."""

from harness.data.tokens.batches import Batch, collate, count_labels, left_padded, micro_batches

__all__ = ["Batch", "collate", "count_labels", "left_padded", "micro_batches"]
