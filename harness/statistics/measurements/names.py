"""Names of measurements, as records and reports use them."""

from __future__ import annotations

# Prefixes of a kind, such as "bleu".
VALIDATION = "validation."  # on the split that the search uses
TEST = "test."  # on the split that only finalists use
FORGETTING = "forgetting."  # changes from the base outside the task
GENERAL = "general."  # scores on general text
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
QUANTIZED_KL = "forgetting_from_quantized.kl"  # from the quantized base that was trained
QUANTIZED_NLL = "forgetting_from_quantized.nll"
DRIFT_KL = "drift.kl_target"  # on texts of the task itself

# Scores of one model.
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
MERGED_DIFFERENCE = "merged.max_logit_difference"  # between the merged and the adapted model
MERGED_SPEED = "merged.tokens_per_second"
TRAINED_SPEED = "trained.tokens_per_second"  # of the same prompts, as it was trained

# Measurements shown during a search.
VALIDATION_BLEU = "validation.bleu"
VALIDATION_CHRF = "validation.chrf"
VALIDATION_ACCURACY = "validation.accuracy"
VALIDATION_PERPLEXITY = "validation.perplexity"
VALIDATION_LOSS = "validation.loss"
