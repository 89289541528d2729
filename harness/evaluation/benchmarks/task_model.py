"""Adapter that presents a model in memory to lm-eval, with this project's tokens and generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import EvaluationConfig
from harness.data.tokens.batches import left_padded
from harness.data.tokens.encode import pad_id
from harness.data.tokens.questions import turn_ends
from harness.data.tokens.special_tokens import begins_with
from harness.evaluation.benchmarks.chat_form import template
from harness.evaluation.decoding import GREEDY
from harness.evaluation.generation import LOOKED_AT
from harness.evaluation.own_words import check_own_words, chosen_prompts
from harness.models.cached.continuing import continued, counts_padding, n_virtual_tokens
from harness.models.views import as_pretrained

if TYPE_CHECKING:
    import torch
    from torch import nn


def in_memory(model: nn.Module, tokenizer: Any, config: EvaluationConfig, device: str) -> Any:
    """Wrap ``model`` in lm-eval's class for Hugging Face models (HFLM).

    Each text begins once with the tokens that the tokenizer writes before a text, as in training and
    generation. In a chat template, the template writes them. No end-of-text token is appended, because
    it would end the question.

    The log-likelihood of a whole text follows lm-eval, so that it compares with published numbers. Its
    first token is conditioned on bos (on eos if there is no bos), even if the tokenizer writes none. If
    the tokenizer does write bos, lm-eval would score bos as well, so it is left out here.
    """
    import torch
    from lm_eval.models.huggingface import HFLM, stop_sequences_criteria

    chat = None if config.apply_chat_template is False else template(tokenizer, config)
    begin = begins_with(tokenizer) if chat is None else []  # a template writes all of it
    turn_end = () if chat is None else turn_ends(tokenizer)
    last = sorted({tokenizer.eos_token_id, *turn_end} - {None})
    n_virtual = n_virtual_tokens(model)
    positions = getattr(
        as_pretrained(model).config.get_text_config(), "max_position_embeddings", None
    )

    base: Any = HFLM  # its decorator is typed as if it returned lm-eval's plain LM

    class InMemory(base):
        whole_text = False
        looked = False  # True once answers of the current task were checked

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            assert chat is not None
            return tokenizer.apply_chat_template(
                chat_history,
                chat_template=chat,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )

        def tok_encode(
            self,
            string: str,
            add_special_tokens: bool | None = None,
            left_truncate_len: int | None = None,
            **options: Any,
        ) -> list[int]:
            ids = list(tokenizer.encode(string, add_special_tokens=False))
            own = ids[: len(begin)] == begin
            if add_special_tokens is not False and not self.whole_text and not own:
                ids = begin + ids
            return ids if left_truncate_len is None else ids[-left_truncate_len:]

        def tok_batch_encode(
            self,
            strings: list[str],
            padding_side: str = "left",
            left_truncate_len: int | None = None,
            truncation: bool = False,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            rows = [self.tok_encode(string) for string in strings]
            if left_truncate_len is not None:
                room = left_truncate_len - len(begin)
                rows = [
                    row if len(row) <= left_truncate_len else begin + row[-room:] for row in rows
                ]
            return left_padded([np.asarray(row) for row in rows], pad_id(tokenizer))

        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
            return super().loglikelihood(requests, disable_tqdm=True)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
            self.whole_text = True
            try:
                return super().loglikelihood_rolling(requests, disable_tqdm=True)
            finally:
                self.whole_text = False

        def _loglikelihood_tokens(
            self, requests: Any, disable_tqdm: bool = True, override_bs: int | None = None
        ) -> Any:
            return super()._loglikelihood_tokens(
                requests, disable_tqdm=True, override_bs=override_bs
            )

        def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
            self.looked = False
            kept = self.batch_size_per_gpu
            if counts_padding(model, self.max_length):
                self.batch_size_per_gpu = 1
            try:
                return super().generate_until(requests, disable_tqdm=True)
            finally:
                self.batch_size_per_gpu = kept

        def _model_generate(
            self,
            context: torch.Tensor,
            max_length: int,
            stop: list[str],
            attention_mask: torch.Tensor,
            do_sample: bool = False,
            **options: Any,
        ) -> torch.Tensor:
            batch, length = context.shape
            if not do_sample:  # tasks say temperature 0 then, which transformers warns about
                drawing = ("temperature", "top_p", "top_k")
                options = {name: value for name, value in options.items() if name not in drawing}
            ends = {"eos_token_id": last or None, "pad_token_id": pad_id(tokenizer)}
            output = greedy = continued(
                model,
                context,
                attention_mask,
                max_new_tokens=max_length - length,
                do_sample=do_sample,
                stopping_criteria=stop_sequences_criteria(tokenizer, stop, length, batch),
                **ends,
                **options,
            )
            if not self.looked:  # one check for each task
                if do_sample or options:  # else the answers are greedy already
                    n = min(LOOKED_AT, max_length - length)
                    greedy = continued(model, context, attention_mask, max_new_tokens=n, **ends)
                _look(model, last, context, attention_mask, greedy[:, length:].tolist())
                self.looked = True
            return output

    with _as_it_is(model):
        return InMemory(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=config.task_batch_size or config.batch_size,
            device=device,
            max_length=positions - n_virtual if positions and n_virtual else None,
            softmax_dtype=torch.float32,
        )


def _look(
    model: nn.Module,
    last: list[int],
    ids: torch.Tensor,
    mask: torch.Tensor,
    greedy: list[list[int]],
) -> None:
    """Raise NotTheModels if ``greedy``, generated after the (B, T) ``ids``, is not the model's own."""
    prompts = [row[real.bool()].cpu().numpy() for row, real in zip(ids, mask, strict=True)]
    ends = (next((i for i, token in enumerate(row) if token in last), len(row)) for row in greedy)
    answers = [row[: end + 1] for row, end in zip(greedy, ends, strict=True)]
    chosen = chosen_prompts(prompts)
    check_own_words(
        model,
        prompts=[prompts[i] for i in chosen],
        answers=[answers[i] for i in chosen],
        decoding=GREEDY,
        ends=last,
        device=str(ids.device),
    )


@contextmanager
def _as_it_is(model: nn.Module) -> Iterator[None]:
    """Prevent lm-eval from tying the weights, which in a masked model are no parameters."""
    vars(model)["tie_weights"] = lambda *args, **options: None
    try:
        yield
    finally:
        del vars(model)["tie_weights"]
