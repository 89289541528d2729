"""Names of measurements. Whatever makes, reads or shows one of these takes its name from here."""

from __future__ import annotations

# In front of a kind, such as "bleu".
VALIDATION = "validation."  # on the split that the search sees
TEST = "test."  # on the split that finalists alone see
FORGETTING = "forgetting."  # changes from the base on what was not trained for
GENERAL = "general."  # levels on general text
TASKS = "tasks."  # tasks.NAME.METRIC: scores of lm-eval
PROBES = "probes."  # answers to questions about facts
INSTRUCTIONS = "instructions."
AGREEMENT = "agreement."

# Changes from the base.
FORGETTING_KL = "forgetting.kl"
FORGETTING_NLL = "forgetting.nll"
FORGETTING_NLL_WORST = "forgetting.nll.worst_domain"
FORGETTING_NLL_LOST = "forgetting.nll_lost"
FORGETTING_NLL_GAINED = "forgetting.nll_gained"
FORGETTING_TASKS = "forgetting.tasks"
FORGETTING_INSTRUCTIONS = "forgetting.instructions"
FORGETTING_INSTRUCTION_CHECKS = "forgetting.instructions.checks"
QUANTIZED_KL = "forgetting_from_quantized.kl"  # from the base as it was stored in training
QUANTIZED_NLL = "forgetting_from_quantized.nll"
DRIFT_KL = "drift.kl_target"  # on texts of the task itself

# Levels of one model.
GENERAL_PERPLEXITY = "general.perplexity"
GENERAL_BITS_PER_BYTE = "general.bits_per_byte"
INSTRUCTIONS_PROMPTS = "instructions.prompts"
INSTRUCTIONS_CHECKS = "instructions.checks"
AGREEMENT_EXACT_MATCH = "agreement.exact_match"
AGREEMENT_CHRF = "agreement.chrf"
PROBES_RECALLED = "probes.recalled"
PROBES_RECALLED_OLD = "probes.recalled.old"
PROBES_INVENTED = "probes.invented"
PROBES_INVENTED_UNANSWERABLE = "probes.invented.unanswerable"
PROBES_REPETITION = "probes.repetition"
PROBES_CHAT_KEPT = "probes.chat_kept"
MERGED_DIFFERENCE = (
    "merged.max_logit_difference"  # the merged model's largest, from the adapted one
)

# What is watched and shown during a search.
VALIDATION_BLEU = "validation.bleu"
VALIDATION_CHRF = "validation.chrf"
VALIDATION_ACCURACY = "validation.accuracy"
VALIDATION_PERPLEXITY = "validation.perplexity"
VALIDATION_LOSS = "validation.loss"
