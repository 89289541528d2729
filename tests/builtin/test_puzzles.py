"""The tasks with one right answer: what is shipped is right, checked by other means."""

import json
import re

import pytest

from harness import builtin
from harness.builtin.texts import puzzles, world
from harness.data.rows.splits import read_splits
from harness.errors import InputError

SUMS = (builtin.SUMS_TRAIN, builtin.SUMS_VALIDATION, builtin.SUMS_TEST)
GAME = (builtin.GAME_TRAIN, builtin.GAME_VALIDATION, builtin.GAME_TEST)
SUMMARIES = (builtin.SUMMARIES_TRAIN, builtin.SUMMARIES_VALIDATION, builtin.SUMMARIES_TEST)


def rows_of(paths) -> list[dict]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_every_sum_is_right():
    """Read with a pattern, reckoned with integers."""
    value = {word: number for number, word in enumerate(world.NUMBERS)}
    for row in rows_of(SUMS):
        words = re.findall("|".join(sorted(world.NUMBERS, key=len, reverse=True)), row["prompt"])
        has, found, lost = (value[word] for word in words)
        steps = [value[word] for word in re.findall(r"(?:make|leaves) (\w+)", row["answer"])]
        assert steps == [has + found, has + found - lost], row
        assert row["answer"].endswith(f"Answer: {world.NUMBERS[steps[-1]]}")


def test_every_rule_does_what_it_says():
    row = ["red", "blue", "green", "grey"]
    done = {rule: " ".join(act(list(row))) for rule, act in puzzles.RULES.items()}
    assert done == {
        "turn round": "grey green blue red",
        "first goes last": "blue green grey red",
        "last goes first": "grey red blue green",
        "ends change places": "grey blue green red",
        "first is doubled": "red red blue green grey",
        "last is taken": "red blue green",
    }
    for said in rows_of(GAME):
        stones, rule = re.fullmatch(r"stones: (.*); rule: (.*)", said["prompt"]).groups()
        assert said["answer"] == " ".join(puzzles.RULES[rule](stones.split()))


def test_a_summary_says_only_what_its_story_tells():
    own = {
        "a",
        "lost",
        "brought",
        "to",
        "gave",
        "stranger",
        "again",
        "in",
        "and",
        "found",
        "at",
        "the",
    }
    for row in rows_of(SUMMARIES):
        words = [re.sub(r"s$", "", word) for word in re.findall(r"\w+", row["answer"])]
        told = {re.sub(r"s$", "", word) for word in re.findall(r"\w+", row["prompt"])}
        assert set(words) - told <= own, row
        assert len(words) <= 14 < len(row["prompt"].split()) / 3


@pytest.mark.parametrize("paths", [SUMS, GAME, SUMMARIES], ids=["sums", "game", "summaries"])
def test_no_question_is_asked_twice(paths):
    prompts = [row["prompt"] for row in rows_of(paths)]
    assert len(prompts) == len(set(prompts)) == 740


@pytest.mark.parametrize("name", ["sums", "game", "summaries"])
def test_each_is_read_by_its_own_name(name, trial_config):
    splits = read_splits(trial_config("method=lora", f"data=builtin_{name}").data)
    shipped = [
        row["answer"] for row in rows_of({"sums": SUMS, "game": GAME, "summaries": SUMMARIES}[name])
    ]
    read = [example.references[0] for example in splits.train]
    assert read
    assert set(read) <= set(shipped)


def test_a_name_that_nothing_built_in_has_is_refused(trial_config):
    config = trial_config("method=lora", "data=builtin", "data.name=sum").data
    with pytest.raises(InputError, match=r"data\.name.*'sum'.*isle, sums, game"):
        read_splits(config)
