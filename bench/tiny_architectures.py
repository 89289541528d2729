"""Configurations of tiny random models, one for each architecture that people tune.

Two layers (four where layers alternate), 32 wide. What is small keeps its kind: mixtures have experts,
hybrids have both sorts of layer, windows are shorter than the texts.
"""

from __future__ import annotations

from typing import Any

VOCABULARY = 2048  # more than the tokenizer of the built-in model has
POSITIONS = 256

_IDS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_LLAMA: dict[str, Any] = {
    **_IDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_HEADS_OF_8: dict[str, Any] = {**_LLAMA, "head_dim": 8}
_GPT: dict[str, Any] = {**_IDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS}
_EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
_LOCAL_EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
_ROUTED: dict[str, Any] = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT: dict[str, Any] = {  # attention of DeepSeek
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "num_key_value_heads": 4,
}
_DELTA: dict[str, Any] = {  # linear attention of Qwen3-Next
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
_WINDOW: dict[str, Any] = {"sliding_window": 16}

# What people call it → (model_type of transformers, fields of its configuration).
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", _HEADS_OF_8),
    "Llama 4": (
        "llama4_text",
        {
            **_HEADS_OF_8,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 64,
            "interleave_moe_layer_step": 1,
        },
    ),
    "Mistral": ("mistral", {**_HEADS_OF_8, **_WINDOW}),
    "Ministral": ("ministral", {**_HEADS_OF_8, **_WINDOW}),
    "Mixtral": ("mixtral", {**_HEADS_OF_8, **_LOCAL_EXPERTS}),
    "Qwen2": ("qwen2", _LLAMA),
    "Qwen2-MoE": ("qwen2_moe", {**_LLAMA, **_EXPERTS}),
    "Qwen3": ("qwen3", _HEADS_OF_8),
    "Qwen3-MoE": ("qwen3_moe", {**_HEADS_OF_8, **_EXPERTS}),
    "Qwen3-Next": ("qwen3_next", {**_HEADS_OF_8, **_EXPERTS, **_DELTA}),
    "Qwen3.5": ("qwen3_5_text", {**_HEADS_OF_8, **_DELTA}),
    "Qwen3.5-MoE": ("qwen3_5_moe_text", {**_HEADS_OF_8, **_EXPERTS, **_DELTA}),
    "Gemma": ("gemma", _HEADS_OF_8),
    "Gemma 2": ("gemma2", {**_HEADS_OF_8, **_WINDOW, "query_pre_attn_scalar": 8}),
    "Gemma 3": ("gemma3_text", {**_HEADS_OF_8, **_WINDOW, "query_pre_attn_scalar": 8}),
    "Gemma 3 with vision": (
        "gemma3",
        {
            "text_config": {**_HEADS_OF_8, **_WINDOW, "query_pre_attn_scalar": 8},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
                "model_type": "siglip_vision_model",
            },
            "mm_tokens_per_image": 4,
            "image_token_index": VOCABULARY - 1,
            "boi_token_index": VOCABULARY - 2,
            "eoi_token_index": VOCABULARY - 3,
        },
    ),
    "Phi": ("phi", {**_LLAMA, "partial_rotary_factor": 0.5}),
    "Phi-3": ("phi3", {**_LLAMA, "original_max_position_embeddings": POSITIONS}),
    "Phi-3.5-MoE": ("phimoe", {**_LLAMA, **_LOCAL_EXPERTS}),
    "GPT-2": ("gpt2", _GPT),
    "GPT-BigCode": ("gpt_bigcode", _GPT),
    "GPT-NeoX": (
        "gpt_neox",
        {k: v for k, v in _LLAMA.items() if k != "num_key_value_heads"},
    ),
    "GPT-J": ("gptj", {**_GPT, "rotary_dim": 4}),
    "GPT-Neo": (
        "gpt_neo",
        {
            **_IDS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": POSITIONS,
            "window_size": 16,
        },
    ),
    "CodeGen": ("codegen", {**_GPT, "rotary_dim": 4}),
    "gpt-oss": (
        "gpt_oss",
        {
            **_HEADS_OF_8,
            **_LOCAL_EXPERTS,
            **_WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "OPT": (
        "opt",
        {
            **_IDS,
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": POSITIONS,
        },
    ),
    "BLOOM": ("bloom", {**_IDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "XGLM": (
        "xglm",
        {**_IDS, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4},
    ),
    "Falcon": (
        "falcon",
        {**_IDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "MPT": (
        "mpt",
        {**_IDS, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": POSITIONS},
    ),
    "StableLM": ("stablelm", _LLAMA),
    "StarCoder2": ("starcoder2", {**_LLAMA, **_WINDOW}),
    "DeepSeek-V2": ("deepseek_v2", {**_LLAMA, **_ROUTED, **_LATENT}),
    "DeepSeek-V3": ("deepseek_v3", {**_LLAMA, **_ROUTED, **_LATENT}),
    "OLMo": ("olmo", _LLAMA),
    "OLMo 2": ("olmo2", _LLAMA),
    "OLMo 3": ("olmo3", {**_LLAMA, **_WINDOW}),
    "OLMoE": ("olmoe", {**_LLAMA, "num_experts": 4, "num_experts_per_tok": 2}),
    "Granite": ("granite", _LLAMA),
    "Granite-MoE": ("granitemoe", {**_LLAMA, **_LOCAL_EXPERTS}),
    "Granite 4 (hybrid)": (
        "granitemoehybrid",
        {
            **_LLAMA,
            **_LOCAL_EXPERTS,
            **_MAMBA2,
            "shared_intermediate_size": 32,
            "layer_types": ["mamba", "attention"],
        },
    ),
    "Cohere": ("cohere", _LLAMA),
    "Cohere 2": ("cohere2", {**_HEADS_OF_8, **_WINDOW}),
    "SmolLM3": ("smollm3", _LLAMA),
    "GLM": ("glm", _HEADS_OF_8),
    "GLM-4": ("glm4", _HEADS_OF_8),
    "GLM-4-MoE": ("glm4_moe", {**_HEADS_OF_8, **_ROUTED}),
    "ERNIE 4.5": ("ernie4_5", _HEADS_OF_8),
    "ERNIE 4.5-MoE": (
        "ernie4_5_moe",
        {
            **_HEADS_OF_8,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 32,
            "moe_layer_start_index": 1,
            "moe_num_shared_experts": 1,
        },
    ),
    "Nemotron": ("nemotron", _HEADS_OF_8),
    "EXAONE 4": ("exaone4", {**_HEADS_OF_8, **_WINDOW, "sliding_window_pattern": 2}),
    "MiniMax": (
        "minimax",
        {
            **_HEADS_OF_8,
            **_LOCAL_EXPERTS,
            "block_size": 16,
            "layer_types": ["full_attention", "linear_attention"],
        },
    ),
    "Hunyuan": ("hunyuan_v1_dense", _HEADS_OF_8),
    "dots.llm1": ("dots1", {**_HEADS_OF_8, **_ROUTED}),
    "Seed-OSS": ("seed_oss", _HEADS_OF_8),
    "JetMoe": (
        "jetmoe",
        {**_LLAMA, **_LOCAL_EXPERTS, "kv_channels": 8, "num_key_value_heads": 2},
    ),
    "Mamba": ("mamba", {**_IDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "Mamba 2": (
        "mamba2",
        {
            **_IDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 16,
        },
    ),
    "Falcon Mamba": (
        "falcon_mamba",
        {**_IDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "Jamba": (
        "jamba",
        {
            **_LLAMA,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "Falcon-H1": ("falcon_h1", {**_HEADS_OF_8, **_MAMBA2, "mamba_d_ssm": 64}),
    "Bamba": ("bamba", {**_LLAMA, **_MAMBA2, "attn_layer_indices": [1]}),
    "Nemotron-H": (
        "nemotron_h",
        {
            **_HEADS_OF_8,
            "layers_block_type": ["mamba", "attention", "mamba", "moe"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "ssm_state_size": 8,
            "chunk_size": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "moe_shared_expert_intermediate_size": 32,
        },
    ),
    "Zamba 2": (
        "zamba2",
        {
            **_LLAMA,
            "num_key_value_heads": 4,
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
            "mamba_d_state": 8,
            "n_mamba_heads": 8,
            "mamba_ngroups": 1,
            "chunk_size": 16,
            "num_mem_blocks": 1,
            "adapter_rank": 4,
        },
    ),
    "LFM2": (
        "lfm2",
        {**_LLAMA, "block_auto_adjust_ff_dim": False, "layer_types": ["conv", "full_attention"]},
    ),
    "RecurrentGemma": (
        "recurrent_gemma",
        {
            **_LLAMA,
            "num_hidden_layers": 3,
            "lru_width": 32,
            "attention_window_size": 16,
            "head_dim": 8,
        },
    ),
    "RWKV": ("rwkv", {**_IDS, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 256}),
    "xLSTM": (
        "xlstm",
        {**_IDS, "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 2, "chunk_size": 16},
    ),
}
