"""Initial values of LoRA's factors: PiSSA, OLoRA, EVA and LoftQ."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, cast

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext
from harness.methods.low_rank.remembered_svd import svd
from harness.methods.targets import Shapes, refuse_conv1d
from harness.models.views import as_peft, as_pretrained

if TYPE_CHECKING:
    from pathlib import Path

    from peft import LoraConfig
    from torch import nn

# PiSSA (arXiv:2404.02948, Eq. 2-4) takes A and B from the largest singular values of W₀, OLoRA
# (arXiv:2406.01775) from its QR decomposition. Both store W₀ − (α/r)·B₀A₀ in the base, so that the
# output of the model does not change.
TAKEN_FROM_BASE = ("pissa", "olora")

EVA_BATCH = 8  # sequences
TAKEN = "taken_from_base"  # attribute of the adapted model: initial A and B


def check(model: nn.Module, shapes: Shapes, init: str, r: int, eva_rho: float) -> None:
    """Raise InputError if the targets do not allow ``init``.

    ``model`` may be a skeleton without weights.
    """
    if init == "olora":
        refuse_conv1d(model, shapes, "OLoRA")  # peft decomposes its transpose
    if init == "eva":
        narrowest = min(d_in for d_in, _ in shapes.values())
        require(
            round(r * eva_rho) <= narrowest,
            "method.r × method.eva_rho",
            r * eva_rho,
            f"at most {narrowest}, the narrowest input of a target",
        )


def check_directions(tuned: nn.Module) -> None:
    """Raise InputError if a row of a target's weight is zero.

    DoRA divides each row by its norm, so every output would be NaN.
    """
    for name, magnitude in tuned.named_parameters():
        if "lora_magnitude_vector" in name and not magnitude.is_meta and not magnitude.all():
            module = name.removeprefix("base_model.model.").split(".lora_magnitude_vector")[0]
            n = int((magnitude == 0).sum())
            raise InputError(
                f"method.use_dora=true cannot be used: {n} rows of the base's {module} are zero "
                "and have no direction. Leave it out of method.target_modules."
            )


def remember(tuned: nn.Module) -> None:
    """Store the initial A and B on the model. ``save_as_lora`` subtracts them from the trained ones."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(tuned)
    setattr(tuned, TAKEN, {name: tensor.clone() for name, tensor in state.items()})


def save_as_lora(tuned: nn.Module, folder: Path) -> None:
    """Save a plain LoRA of rank 2r for the untouched base, BA − B₀A₀ = [B, −B₀]·[A; A₀].

    See PiSSA, appendix C. peft does the same with a copy of the untrained adapter on disk.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    stacked = {}
    for name, trained in get_peft_model_state_dict(tuned).items():
        initial = getattr(tuned, TAKEN)[name]
        if ".lora_A." in name:
            trained = torch.cat([trained, initial.to(trained.device)])
        elif ".lora_B." in name:
            trained = torch.cat([trained, -initial.to(trained.device)], dim=1)
        stacked[name] = trained.contiguous()
    config = cast("LoraConfig", copy.deepcopy(as_peft(tuned).peft_config["default"]))
    # Keeps the scale at twice the rank.
    config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2
    config.r *= 2
    config.init_lora_weights = True
    config.inference_mode = True
    config.save_pretrained(str(folder))
    save_file(stacked, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def eva(tuned: nn.Module, context: AdaptContext, n_sequences: int, n_components: int) -> None:
    """Set A to the principal directions of each layer's inputs (EVA, arXiv:2410.07170).

    Ranks are redistributed to layers where they explain most variance, up to ``n_components`` per
    layer. Their sum stays the same. Raises InputError if no batch of training sequences has
    ``n_components`` tokens, or if peft cannot read the inputs of a layer.
    """
    from peft import initialize_lora_eva_weights
    from peft.tuners.tuners_utils import cast_adapter_dtype

    batches = [
        {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask.ne(0).long().to(batch.input_ids.device),
        }
        for batch in context.calibration(n_sequences, EVA_BATCH)
    ]
    n_tokens = [int(batch["attention_mask"].sum()) for batch in batches]
    if max(n_tokens) < n_components:
        raise InputError(
            f"method.init='eva' cannot be used: method.r × method.eva_rho={n_components} "
            "directions "
            f"need as many tokens in {EVA_BATCH} training sequences, and there are {max(n_tokens)}."
        )
    long_enough = [batch for batch, n in zip(batches, n_tokens, strict=True) if n >= n_components]
    try:
        initialize_lora_eva_weights(tuned, long_enough, show_progress_bar=False)
    except IndexError as error:  # raised where peft selects the real tokens of an input
        raise InputError(
            "method.init='eva' cannot be used with these layers: peft expects inputs of (batch, "
            "length, "
            "width), and some layers get all tokens of a batch in one row, such as a mixture's "
            "shared "
            "expert and OPT's MLP. Name the others in method.target_modules, such as attention."
        ) from error
    cast_adapter_dtype(tuned, "default")  # float32, as for factors that peft initializes itself


def loftq(tuned: nn.Module) -> None:
    """Set (α/r)·BA to the best rank-r approximation of the quantization error W − Q.

    LoftQ, arXiv:2310.08659, Alg. 1 with one iteration. More iterations would change Q, and the
    saved adapter would fit no other quantized copy of the base. W is loaded again at full precision
    on the CPU. peft's version needs a GPU and omits the scale α/r, which doubles the correction at
    α = 2r.
    """
    import torch
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight
    from transformers.pytorch_utils import Conv1D

    base = as_pretrained(as_peft(tuned).get_base_model())
    stored = type(base).from_pretrained(
        base.name_or_path,
        revision=getattr(base.config, "_commit_hash", None) or "main",
        dtype="auto",
        use_safetensors=True,
        trust_remote_code=False,
    )
    for name, layer in base.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        original = stored.get_submodule(name)
        weight = cast(torch.Tensor, original.weight)
        weight = weight.T if isinstance(original, Conv1D) else weight
        rounded = dequantize_module_weight(layer.get_base_layer())
        error = weight.detach().to(rounded.device).float() - rounded.float()
        left, values, right = svd(error, cast(int, layer.r["default"]))
        root = (values / layer.scaling["default"]).sqrt()
        a.data = (root[:, None] * right).to(a.device, a.dtype)
        b.data = (left * root).to(b.device, b.dtype)
