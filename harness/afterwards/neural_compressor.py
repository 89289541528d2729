"""4-bit weights by Intel Neural Compressor: round to nearest, and GPTQ.

RTN rounds each weight to its nearest value. GPTQ (Frantar et al. 2022, arXiv:2210.17323, Eq. 2, 3)
rounds one column at a time and corrects the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from harness.language import recorded

if TYPE_CHECKING:
    from torch import nn

    from harness.data.tokens.batches import Batch

BITS = 4


def compressed(
    model: nn.Module,
    scheme: str,
    layers: Collection[str],
    group_size: int,
    calibration: Iterable[Batch],
) -> tuple[nn.Module, str]:
    """Quantize ``layers`` of ``model`` to 4 bits in groups, and return the model and a description.

    ``model`` is changed. ``calibration`` yields batches of one sequence, used by GPTQ.
    """
    import torch
    from neural_compressor.torch import quantization  # pyright: ignore[reportMissingImports]

    kinds = {
        "inc_rtn": quantization.RTNConfig,
        "inc_gptq": quantization.GPTQConfig,
    }
    kind: Any = kinds[scheme]
    config = kind(bits=BITS, group_size=group_size)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name not in layers:
            config.set_local(name, kind(dtype="fp32"))
    batches = [] if scheme == "inc_rtn" else list(calibration)
    with torch.no_grad():
        prepared = quantization.prepare(model, config)
        for batch in batches:
            assert len(batch.input_ids) == 1, "otherwise padding would be observed"
            prepared(batch.input_ids, use_cache=False)
        found: Any = quantization.convert(prepared)
    found.tie_weights()  # RTN leaves an output layer that shared its weights with a copy of them
    how = recorded(
        "int4 weights in groups of {size} ({scheme} of Intel Neural Compressor)",
        size=group_size,
        scheme=scheme.removeprefix("inc_").upper(),
    )
    if batches:
        after = recorded("calibrated on {n} training sequences", n=len(batches))
        how = f"{how}; {after}"
    return found, how
