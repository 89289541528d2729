"""Prompt tuning, Lester et al. 2021, arXiv:2104.08691: learned vectors before the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import InputError
from harness.methods.base import AdaptContext
from harness.methods.prompts.virtual_tokens import VirtualTokens, of_embeddings, words
from harness.methods.with_peft import put_adapter
from harness.models.views import input_embeddings

if TYPE_CHECKING:
    from torch import nn

FREQUENT_TOKENS = 5000  # §3.2: initial vectors are those of the most common tokens


@dataclass(frozen=True)
class PromptTuning(VirtualTokens):
    """[P; X] instead of X at the embedding layer, P of n×d, everything else frozen (§2)."""

    init: Literal["sample_vocabulary", "random", "text"]
    init_text: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init == "text" and not self.init_text:
            raise InputError("method.init=text needs method.init_text: the words to begin with.")

    def size(self, model: nn.Module) -> tuple[int, int]:
        return input_embeddings(model).embedding_dim, 0

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        import torch
        from peft import PromptTuningConfig, PromptTuningInit, TaskType

        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.num_virtual_tokens,
            **of_embeddings(model),
            prompt_tuning_init=PromptTuningInit.RANDOM,
        )
        tuned = put_adapter(model, config)
        # peft's own starts are N(0, 1) and a sample of the whole vocabulary; the paper's are not.
        vectors = input_embeddings(model).weight
        prompt = tuned.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            if self.init == "random":
                prompt.uniform_(-0.5, 0.5)
            else:
                chosen = self._tokens(plan, vectors.shape[0]).to(vectors.device)
                prompt.copy_(vectors[chosen].float())
        return tuned

    def _tokens(self, plan: AdaptContext, n_vocabulary: int):
        """(num_virtual_tokens,) token ids to copy the first vectors from."""
        import torch

        if self.init == "text":
            return torch.tensor(words(plan, self.num_virtual_tokens, self.init_text))
        # Byte-pair vocabularies are numbered by how early a pair was merged: low ids are common.
        special = set(plan.tokenizer.all_special_ids)
        common = [i for i in range(min(n_vocabulary, FREQUENT_TOKENS)) if i not in special]
        picks = torch.randint(len(common), (self.num_virtual_tokens,))
        return torch.tensor(common)[picks]
