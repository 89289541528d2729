"""Prompt tuning, Lester et al. 2021, arXiv:2104.08691: learned vectors before the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import InputError
from harness.methods.base import AdaptPlan, Method
from harness.strict import require

if TYPE_CHECKING:
    from torch import nn

FREQUENT_TOKENS = 5000  # §3.2: initial vectors are those of the most common tokens


@dataclass(frozen=True)
class PromptTuning(Method):
    """[P; X] instead of X at the embedding layer, P of n×d, everything else frozen (§2).

    No such model starts at the base: the virtual tokens take attention from the first step on.
    """

    num_virtual_tokens: int
    init: Literal["sample_vocabulary", "random", "text"]
    init_text: str | None

    def __post_init__(self) -> None:
        n = self.num_virtual_tokens
        require(n >= 1, "method.num_virtual_tokens", n, "an integer of at least 1")
        if self.init == "text" and not self.init_text:
            raise InputError("method.init=text needs method.init_text: the words to begin with.")

    @property
    def starts_at_base(self) -> bool:
        return False

    @property
    def cannot_merge(self) -> str:
        return "virtual tokens stand before the input and are no part of any weight"

    def adapt(self, model: nn.Module, plan: AdaptPlan) -> nn.Module:
        import torch
        from peft import PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model

        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.num_virtual_tokens,
            prompt_tuning_init=PromptTuningInit.RANDOM,
        )
        tuned = get_peft_model(model, config)
        # peft's own starts are N(0, 1) and a sample of the whole vocabulary; the paper's are not.
        words = model.get_input_embeddings().weight
        weight = tuned.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            if self.init == "random":
                weight.uniform_(-0.5, 0.5)
            else:
                chosen = self._tokens(plan, words.shape[0]).to(words.device)
                weight.copy_(words[chosen].float())
        return tuned

    def _tokens(self, plan: AdaptPlan, n_vocabulary: int):
        """(num_virtual_tokens,) token ids to copy the first vectors from."""
        import torch

        if self.init == "text":
            ids = plan.tokenizer(self.init_text, add_special_tokens=False)["input_ids"]
            if not ids:
                raise InputError(f"method.init_text={self.init_text!r} has no tokens.")
            repeats = -(-self.num_virtual_tokens // len(ids))
            return torch.tensor((ids * repeats)[: self.num_virtual_tokens])
        # Byte-pair vocabularies are numbered by how early a pair was merged: low ids are common.
        special = set(plan.tokenizer.all_special_ids)
        common = [i for i in range(min(n_vocabulary, FREQUENT_TOKENS)) if i not in special]
        picks = torch.randint(len(common), (self.num_virtual_tokens,))
        return torch.tensor(common)[picks]
