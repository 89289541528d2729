"""Initial values of LoRA's factors (PiSSA, OLoRA, EVA, LoftQ), and their demands on the base."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, cast

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext
from harness.methods.targets import Shapes, refuse_conv1d
from harness.models.views import as_peft, as_pretrained

if TYPE_CHECKING:
    from pathlib import Path

    from peft import LoraConfig
    from torch import nn

# PiSSA (arXiv:2404.02948, Eq. 2-4): A and B from the largest singular values; OLoRA (2406.01775): from
# a QR decomposition. Both leave W₀ − (α/r)·B₀A₀ in the base, so that the model starts where it was.
TAKEN_FROM_BASE = ("pissa", "olora")

EVA_BATCH = 8  # sequences
TAKEN = "taken_from_base"  # where the adapted model keeps the factors that it began with


def check(model: nn.Module, shapes: Shapes, init: str, r: int, eva_rho: float) -> None:
    """Raise InputError for a start that these layers cannot have; a skeleton will do."""
    if init == "olora":
        refuse_conv1d(model, shapes, "OLoRA")  # peft decomposes it the wrong way round
    if init == "eva":
        narrowest = min(d_in for d_in, _ in shapes.values())
        require(
            round(r * eva_rho) <= narrowest,
            "method.r × method.eva_rho",
            r * eva_rho,
            f"at most {narrowest}, the narrowest input of a target",
        )


def check_directions(tuned: nn.Module) -> None:
    """DoRA divides each row of W₀ by its norm: a row of zeros would make every output NaN."""
    for name, magnitude in tuned.named_parameters():
        if "lora_magnitude_vector" in name and not magnitude.is_meta and not magnitude.all():
            module = name.removeprefix("base_model.model.").split(".lora_magnitude_vector")[0]
            n = int((magnitude == 0).sum())
            raise InputError(
                f"method.use_dora=true cannot be used: {n} rows of the base's {module} are zero "
                "and have no direction. Leave it out of method.target_modules."
            )


def remember(tuned: nn.Module) -> None:
    """Keep A₀ and B₀, to tell at the end what was learned from what was taken out of the base."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(tuned)
    setattr(tuned, TAKEN, {name: tensor.clone() for name, tensor in state.items()})


def save_as_lora(tuned: nn.Module, folder: Path) -> None:
    """A plain LoRA of rank 2r for the base as it was: BA − B₀A₀ = [B, −B₀]·[A; A₀].

    (PiSSA, appendix C.) peft does the same from a copy of the untrained adapter on disk.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    stacked = {}
    for name, now in get_peft_model_state_dict(tuned).items():
        before = getattr(tuned, TAKEN)[name]
        if ".lora_A." in name:
            now = torch.cat([now, before.to(now.device)])
        elif ".lora_B." in name:
            now = torch.cat([now, -before.to(now.device)], dim=1)
        stacked[name] = now.contiguous()
    config = cast("LoraConfig", copy.deepcopy(as_peft(tuned).peft_config["default"]))
    config.lora_alpha *= (
        math.sqrt(2) if config.use_rslora else 2
    )  # of twice the rank: the same scale
    config.r *= 2
    config.init_lora_weights = True
    config.inference_mode = True
    config.save_pretrained(str(folder))
    save_file(stacked, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def eva(tuned: nn.Module, plan: AdaptContext, n_sequences: int, n_components: int) -> None:
    """A from the directions in which a layer's inputs vary most (EVA, arXiv:2410.07170).

    The ranks go where they explain most, up to ``n_components`` a layer, their sum as before. Raises
    InputError where no batch of training sequences has that many tokens.
    """
    from peft import initialize_lora_eva_weights
    from peft.tuners.tuners_utils import cast_adapter_dtype

    batches = [
        {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask.ne(0).long()}
        for batch in plan.calibration(n_sequences, EVA_BATCH)
    ]
    n_tokens = [int(batch["attention_mask"].sum()) for batch in batches]
    if max(n_tokens) < n_components:
        raise InputError(
            f"method.init='eva' cannot be used: method.r × method.eva_rho={n_components} directions "
            f"need as many tokens in {EVA_BATCH} training sequences, and there are {max(n_tokens)}."
        )
    enough = [batch for batch, n in zip(batches, n_tokens, strict=True) if n >= n_components]
    try:
        initialize_lora_eva_weights(tuned, enough, show_progress_bar=False)
    except IndexError as error:  # where peft looks for the real tokens of a layer's input
        raise InputError(
            "method.init='eva' cannot be used with these layers: peft reads inputs by batch and length "
            "and some of them get the tokens of a whole batch in one row, as a mixture's shared "
            "expert and OPT's MLP are. Name the others in method.target_modules, such as attention."
        ) from error
    cast_adapter_dtype(tuned, "default")  # as peft has those that it makes itself: float32


def loftq(tuned: nn.Module) -> None:
    """(α/r)·BA as near as its rank allows to what quantization took: W − Q (LoftQ, arXiv:2310.08659).

    Its alternation (Alg. 1) once: more rounds would change Q, and a saved adapter would fit no base but
    its own. W is read again, at full precision on the CPU, from where the base came from. peft's own
    needs a GPU and leaves the scale α/r out, which doubles the correction at α = 2r.
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
        held = stored.get_submodule(name)
        weight = cast(torch.Tensor, held.weight)
        weight = weight.T if isinstance(held, Conv1D) else weight
        rounded = dequantize_module_weight(layer.get_base_layer())
        lost = weight.detach().to(rounded.device).float() - rounded.float()
        left, values, right = torch.linalg.svd(lost, full_matrices=False)
        root = (values[: a.shape[0]] / layer.scaling["default"]).sqrt()
        a.data = (root[:, None] * right[: len(root)]).to(a.device, a.dtype)
        b.data = (left[:, : len(root)] * root).to(b.device, b.dtype)
