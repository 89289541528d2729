"""Paths of the built-in models and data sets.

``harness.builtin.build`` creates all files in ``ASSETS``. README.md in this folder describes them.
"""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
MANIFEST = ASSETS / "MANIFEST.json"

MODEL = ASSETS / "model"
CHAT_MODEL = ASSETS / "chat_model"

TASK_TRAIN = ASSETS / "data" / "task_train.jsonl"
TASK_VALIDATION = ASSETS / "data" / "task_validation.jsonl"
TASK_TEST = ASSETS / "data" / "task_test.jsonl"
PROMPT_TEMPLATE = "{prompt}\n"

DOMAIN_TRAIN = ASSETS / "data" / "domain_train.jsonl"
DOMAIN_VALIDATION = ASSETS / "data" / "domain_validation.jsonl"
DOMAIN_TEST = ASSETS / "data" / "domain_test.jsonl"

TOPICS_TRAIN = ASSETS / "data" / "topics_train.jsonl"
TOPICS_VALIDATION = ASSETS / "data" / "topics_validation.jsonl"
TOPICS_TEST = ASSETS / "data" / "topics_test.jsonl"

ISLE_TRAIN = ASSETS / "data" / "isle_train.jsonl"
ISLE_VALIDATION = ASSETS / "data" / "isle_validation.jsonl"
ISLE_TEST = ASSETS / "data" / "isle_test.jsonl"
ISLE_PROBES = ASSETS / "data" / "isle_probes.jsonl"

SUMS_TRAIN = ASSETS / "data" / "sums_train.jsonl"
SUMS_VALIDATION = ASSETS / "data" / "sums_validation.jsonl"
SUMS_TEST = ASSETS / "data" / "sums_test.jsonl"

GAME_TRAIN = ASSETS / "data" / "game_train.jsonl"
GAME_VALIDATION = ASSETS / "data" / "game_validation.jsonl"
GAME_TEST = ASSETS / "data" / "game_test.jsonl"

SUMMARIES_TRAIN = ASSETS / "data" / "summaries_train.jsonl"
SUMMARIES_VALIDATION = ASSETS / "data" / "summaries_validation.jsonl"
SUMMARIES_TEST = ASSETS / "data" / "summaries_test.jsonl"

GENERAL = ASSETS / "data" / "general"
GENERAL_TEST = ASSETS / "data" / "general_test"

# Short texts about everyday things in English and Japanese, to measure forgetting of other models.
EVERYDAY = Path(__file__).parent / "everyday"

REPLAY = ASSETS / "data" / "replay.jsonl"

CLOZE_TASKS = ASSETS / "tasks"
