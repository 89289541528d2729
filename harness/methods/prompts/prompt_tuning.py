"""Prompt tuning, Lester et al. 2021, arXiv:2104.08691: learned vectors before the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import InputError
from harness.methods.base import AdaptContext
from harness.methods.prompts.virtual_tokens import (
    VirtualTokens,
    embedding_arguments,
    initial_tokens,
)
from harness.methods.with_peft import put_adapter
from harness.models.views import input_embeddings

if TYPE_CHECKING:
    from torch import nn

FREQUENT_TOKENS = 5000  # §3.2: initial vectors are embeddings of the most common tokens


@dataclass(frozen=True)
class PromptTuning(VirtualTokens):
    """Train [P; X] instead of X at the embedding layer, P of (n, d), all weights frozen (§2)."""

    init: Literal["sample_vocabulary", "random", "text"]
    init_text: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init == "text" and not self.init_text:
            raise InputError(
                "method.init=text needs method.init_text, the initial words of the prompt."
            )

    def size(self, model: nn.Module) -> tuple[int, int]:
        return input_embeddings(model).embedding_dim, 0

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        import torch
        from peft import PromptTuningConfig, PromptTuningInit, TaskType

        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.num_virtual_tokens,
            **embedding_arguments(model),
            prompt_tuning_init=PromptTuningInit.RANDOM,
        )
        tuned = put_adapter(model, config)
        # Initialize as in the paper. peft offers N(0, 1) or a sample of the whole vocabulary.
        vectors = input_embeddings(model).weight
        prompt = tuned.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            if self.init == "random":
                prompt.uniform_(-0.5, 0.5)
            else:
                chosen = self._tokens(context, vectors.shape[0]).to(vectors.device)
                prompt.copy_(vectors[chosen].float())
        return tuned

    def _tokens(self, context: AdaptContext, n_vocabulary: int):
        """Return (num_virtual_tokens,) token ids whose embeddings initialize the prompt."""
        import torch

        if self.init == "text":
            return torch.tensor(initial_tokens(context, self.num_virtual_tokens, self.init_text))
        # Byte-pair vocabularies are numbered in order of merges, so low ids are common tokens.
        special = set(context.tokenizer.all_special_ids)
        common = [i for i in range(min(n_vocabulary, FREQUENT_TOKENS)) if i not in special]
        picks = torch.randint(len(common), (self.num_virtual_tokens,))
        return torch.tensor(common)[picks]
