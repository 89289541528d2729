"""Names that other tools give to keys of this one, so that a mistyped key names its counterpart."""

from __future__ import annotations

from collections.abc import Collection

from harness.errors import nearest

__all__ = ["counterparts"]

# As written in transformers, peft, TRL, LLaMA-Factory, axolotl and H2O LLM Studio, or for short.
_KEYS = {
    "model.name": "model_name model_name_or_path model_id base_model llm_backbone pretrained",
    "model.revision": "model_revision revision_of_model huggingface_branch",
    "model.dtype": "dtype torch_dtype backbone_dtype",
    "model.attention": "attn_implementation attention_implementation flash_attn",
    "data.train": "dataset train_file train_dataframe train_data datasets data_path",
    "data.validation": "eval_dataset validation_file validation_dataframe val_data test_datasets",
    "data.test": "test_file test_dataframe test_data",
    "data.name": "dataset_name",
    "data.prompt_column": "prompt_column instruction_column input_column",
    "data.answer_column": "answer_column response_column output_column target_column",
    "data.text_column": "dataset_text_field text_field",
    "data.label_column": "label_column",
    "data.messages_column": "field_messages messages",
    "data.prompt_template": "query_template template",
    "data.chat_template": "chat_template_path",
    "data.max_length": "max_length max_seq_length cutoff_len sequence_len block_size max_len",
    "data.validation_fraction": "val_size val_set_size validation_size",
    "data.train_limit": "max_samples max_train_samples",
    "data.packing": "packing sample_packing",
    "training.learning_rate": "lr learning_rate",
    "training.epochs": "epochs epoch num_epochs num_train_epochs",
    "training.max_steps": "steps max_steps num_steps",
    "training.batch_size": "bs batch batch_size micro_batch_size per_device_train_batch_size",
    "training.gradient_accumulation_steps": (
        "grad_accum grad_accumulation accumulate_grad_batches gradient_accumulation"
    ),
    "training.optimizer": "optim optimizer optimizer_type",
    "training.schedule": "scheduler lr_scheduler lr_scheduler_type",
    "training.warmup_share": "warmup_ratio warmup_epochs",
    "training.warmup_steps": "warmup warmup_steps num_warmup_steps",
    "training.weight_decay": "wd decay weight_decay",
    "training.max_grad_norm": "clip grad_clip grad_norm_clip gradient_clip max_grad_norm",
    "training.label_smoothing": "label_smoothing_factor label_smoothing",
    "training.neftune_alpha": "neftune_noise_alpha",
    "training.precision": "bf16 fp16 amp use_amp mixed_precision precision",
    "training.gradient_checkpointing": "gradient_checkpointing",
    "training.eval_every": "eval_steps evaluation_epochs evals_per_epoch evaluation_strategy",
    "training.checkpoint_every": "save_steps saves_per_epoch save_strategy",
    "training.select_checkpoint": "load_best_model_at_end metric_for_best_model save_checkpoint",
    "method": "adapter peft finetuning_type peft_method",
    "method.r": "r rank lora_r lora_rank",
    "method.lora_alpha": "alpha lora_alpha",
    "method.lora_dropout": "dropout lora_dropout",
    "method.target_modules": "target_modules lora_target lora_target_modules lora_modules",
    "method.num_virtual_tokens": "virtual_tokens num_virtual_tokens prompt_length",
    "method.quantization": "load_in_4bit load_in_8bit quantization_bit quantization bits",
    "method.double_quantization": "double_quantization bnb_4bit_use_double_quant",
    "evaluation.metrics": "metric metrics",
    "evaluation.tasks": "tasks lm_eval_tasks benchmarks",
    "evaluation.batch_size": "eval_batch_size per_device_eval_batch_size batch_size_inference",
    "evaluation.max_new_tokens": "max_new_tokens max_length_inference",
    "evaluation.num_beams": "num_beams beams eval_num_beams",
    "search.trials": "trials n_trials num_trials",
    "search.sampler": "sampler",
    "confirm.seeds": "seeds n_seeds num_seeds",
    "launcher.workers": "workers gpus n_jobs num_workers nproc_per_node",
    "limits.peak_memory_gb": "max_memory memory_limit memory_gb",
    "name": "run_name experiment_name experiment",
    "runs_dir": "output_dir output_directory",
    "tracking": "report_to logger wandb",
    "tracking.project": "wandb_project",
    "tracking.entity": "wandb_entity",
    "search.space": "space search_space",
    "seed": "random_state random_seed",
}
_KEY_OF = {alias: key for key, aliases in _KEYS.items() for alias in aliases.split()}


def counterparts(typed: str, keys: Collection[str]) -> list[str]:
    """Return the keys that ``typed`` most likely means, at most three of them.

    A name of another tool, and a name that one key alone ends with, are answered by that key. Of
    anything else the nearest in spelling are returned.
    """
    leaf = typed.rpartition(".")[2]
    for name in (typed, leaf):
        key = _KEY_OF.get(name.casefold().replace("-", "_"))
        if key is not None and key in keys:
            return [key]
    same = [key for key in keys if key.rpartition(".")[2] == leaf]
    return same if len(same) == 1 else nearest(typed, keys)
