"""The base is measured once and found again; an untrained adapter is at exactly 0 from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from running import adapted, fit, take

from harness import methods
from harness.evaluation import forgetting as forgetting_module
from harness.evaluation.base_reference import ReferenceStore
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.suite import evaluate, evaluate_during_training
from harness.evaluation.texts import prepare, watch


@pytest.fixture(scope="module")
def config(trial_config):
    return trial_config("method=lora")


@pytest.fixture(scope="module")
def texts(splits, tokenizer_builtin, config):
    return prepare(splits, tokenizer_builtin, config.data, config.evaluation, "validation")


@pytest.fixture(scope="module")
def store_and_reference(tmp_path_factory, pool, model_config, texts, config):
    store = ReferenceStore(tmp_path_factory.mktemp("base"))
    with pool.lend(model_config, None) as base:
        return store, store.get(base, texts, config.evaluation, "cpu")


class Counted:
    """Count the forward passes of a model inside the with-block."""

    def __init__(self, model):
        self.model, self.n = model, 0

    def __enter__(self):
        self.handle = self.model.register_forward_hook(lambda *_: setattr(self, "n", self.n + 1))
        return self

    def __exit__(self, *_):
        self.handle.remove()


def test_measured_once_and_found_by_a_new_process(store_and_reference, lend, texts, config):
    store, reference = store_and_reference
    with lend() as base, Counted(base.model) as counted:
        assert store.get(base, texts, config.evaluation, "cpu") is reference
        other = ReferenceStore(store.folder)  # nothing in memory
        again = other.get(base, texts, config.evaluation, "cpu")
        assert counted.n == 0
    found = ReferenceStore(store.folder).find(config.model, None, texts, config.evaluation)
    for one in (again, found):
        assert one.measurements == reference.measurements
        assert one.outputs == reference.outputs
        assert (one.general_nll == reference.general_nll).all()
        assert torch.equal(one.general.values, reference.general.values)
        assert torch.equal(one.drift.values, reference.drift.values)


@pytest.mark.parametrize("name", ["logprobs.safetensors", "reference.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_broken_cache_file_is_measured_again(
    tmp_path, store_and_reference, lend, texts, config, name, how
):
    _, reference = store_and_reference
    with lend() as base:
        ReferenceStore(tmp_path).get(base, texts, config.evaluation, "cpu")
        (path,) = tmp_path.rglob(name)
        if how == "cut":
            path.write_bytes(path.read_bytes()[:-30])
        else:
            path.unlink()
        store = ReferenceStore(tmp_path)
        assert store.find(config.model, None, texts, config.evaluation) is None
        with Counted(base.model) as counted:
            again = store.get(base, texts, config.evaluation, "cpu")
            assert counted.n > 0
    assert again.measurements == reference.measurements
    assert ReferenceStore(tmp_path).find(config.model, None, texts, config.evaluation) is not None


def test_what_changes_a_reference_has_another(store_and_reference, texts, config):
    from harness.models.quantization import Quantization

    store, _reference = store_and_reference
    find = store.find
    assert find(config.model, None, texts, config.evaluation) is not None
    assert find(config.model, Quantization("nf4", True), texts, config.evaluation) is None
    longer = replace(config.evaluation, max_new_tokens=7)
    assert find(config.model, None, texts, longer) is None
    assert find(config.model, None, replace(texts, split="test"), config.evaluation) is None
    tasks = replace(config.evaluation, task_limit=3)  # measured elsewhere
    assert find(config.model, None, texts, tasks) is not None


@pytest.mark.parametrize("name", ["lora", "adalora"])
@pytest.mark.parametrize("whole", [True, False], ids=["full vocabulary", "top k"])
def test_untrained_it_forgot_exactly_nothing(
    tmp_path, lend, trial_config, texts, config, name, whole
):
    kept = config.evaluation if whole else replace(config.evaluation, cache_gb=1e-9)
    with lend() as base:
        reference = ReferenceStore(tmp_path).get(base, texts, kept, "cpu")
        assert (reference.general.ids is None) == whole
        model = adapted(base, trial_config(f"method={name}")).model
        measured = evaluate(model, base.tokenizer, texts, reference, kept, "cpu")
        fast = evaluate_during_training(model, texts, reference, kept, "cpu")
    values = measured.values()
    moved = {n: v for n, v in values.items() if n.startswith(("forgetting.", "drift."))}
    assert len(moved) == 2 * (1 + 8 + 1) + 2 + 1  # whole, domains, worst; lost and gained; drift
    assert set(moved.values()) == {0.0}
    assert {n: v for n, v in fast.items() if not n.endswith("perplexity")} == {
        "forgetting.kl": 0.0,
        "forgetting.nll": 0.0,
        "drift.kl_target": 0.0,
    }
    for metric in ("perplexity", "bits_per_byte", "bleu", "chrf"):
        assert (
            values[f"validation.{metric}"] == reference.measurements[f"validation.{metric}"].value
        )
    form = "full vocabulary" if whole else "top 256 and tail (a lower bound)"
    for name in ("forgetting.kl", "forgetting.kl.worst_domain", "drift.kl_target"):
        one = measured.measurements[name]
        assert form in one.signature and one.unit.endswith(", at least") == (not whole)
    assert measured.measurements["forgetting.nll.worst_domain"].unit == "nats/token"


def test_a_curve_is_of_the_measure_that_it_ends_in(tmp_path, lend, texts, config):
    """The few documents of the curve would fit whole where those at its end do not."""
    few = replace(texts, general=take(texts.general, [0]), domains=texts.domains[:1])
    rows = [int(of.general.n_labels.sum()) for of in (few, texts)]
    with lend() as base:
        vocabulary = base.model.get_output_embeddings().weight.shape[0]
        room = (rows[0] + 1) * vocabulary * 4 / 2**30
        assert rows[0] + 1 < rows[1]
        kept, store = replace(config.evaluation, cache_gb=room), ReferenceStore(tmp_path)
        end = store.get(base, texts, kept, "cpu")
        alone = store.get(base, few, kept, "cpu")
        curve = store.get(base, few, kept, "cpu", beside=texts)
    assert [each.general.is_cut for each in (end, alone, curve)] == [True, False, True]
    assert store.find(config.model, None, few, kept, texts) is curve


def test_trained_it_forgot_something_and_quick_and_whole_agree(
    lend, trial_config, texts, config, encoded, tmp_path, store_and_reference
):
    _, reference = store_and_reference
    hard = trial_config("method=full", "training.learning_rate=1e-3")
    with lend() as base:
        model = fit(base, hard, encoded, tmp_path, steps=6).model
        measured = evaluate(model, base.tokenizer, texts, reference, config.evaluation, "cpu")
        fast = evaluate_during_training(model, texts, reference, config.evaluation, "cpu")
    values = measured.values()
    assert values["forgetting.kl"] > 0.01
    assert values["drift.kl_target"] > 0.01
    assert values["validation.perplexity"] < reference.measurements["validation.perplexity"].value
    for name, value in fast.items():
        assert value == pytest.approx(values[name], rel=1e-6), name
    # Over the whole as over the domains, weighted by tokens.
    sums = {name: items.sum(0) for name, items in measured.items.items()}
    domains = [
        name
        for name in sums
        if name.startswith("forgetting.kl.") and not name.endswith(".worst_domain")
    ]
    assert len(domains) == 8
    total = sum(sums[name] for name in domains)
    assert total == pytest.approx(sums["forgetting.kl"])
    low, high = measured.measurements["forgetting.kl"].interval
    assert low < values["forgetting.kl"] < high


def test_perplexity_of_the_base_on_general_text_is_its_nll(store_and_reference, texts):
    import math

    _, reference = store_and_reference
    tokens = int((texts.general.lengths - texts.general.first_label).sum())
    expected = math.exp(reference.general_nll.sum() / tokens)
    assert reference.measurements["general.perplexity"].value == pytest.approx(expected)


def test_without_general_text_nothing_is_claimed(
    lend, splits, tokenizer_builtin, config, store_and_reference
):
    none = replace(splits, general={}, general_test={})
    bare = prepare(none, tokenizer_builtin, config.data, config.evaluation, "validation")
    measured = MeasurementCollector(100)
    _, reference = store_and_reference
    with lend() as base:
        none = {"forgetting": replace(reference, general=None, general_nll=None)}
        about = (base.model, bare, none, config.evaluation, "cpu")
        forgetting_module.forgetting(measured, *about)
    assert measured.measurements == {}


def test_a_perplexity_beyond_numbers_is_left_out():
    import numpy as np

    measured = MeasurementCollector(100)
    measured.add("validation.perplexity", np.array([[1e6, 10.0], [2e6, 10.0]]), "x")
    measured.add("forgetting.kl", np.array([[np.nan, 10.0], [2.0, 10.0]]), "x")
    assert measured.measurements == {}


def test_watched_texts_are_a_part_of_the_validation_split(splits, tokenizer_builtin, config):
    few = watch(splits, tokenizer_builtin, config.data, 3)
    assert len(few.examples) == 3
    assert set(few.examples) < set(splits.validation)
    assert few.fingerprint == watch(splits, tokenizer_builtin, config.data, 3).fingerprint
    assert few.prompts == []
    assert set(few.domains) == set(splits.general)


def test_every_method_that_starts_at_the_base_is_named(lend, trial_config, texts, config, tmp_path):
    """Prompt tuning is not one of them: its virtual tokens take attention at once."""
    with lend() as base:
        reference = ReferenceStore(tmp_path).get(base, texts, config.evaluation, "cpu")
        prompt = trial_config("method=prompt_tuning")
        assert methods.build(prompt.method).base_quantization is None
        values = evaluate_during_training(
            adapted(base, prompt).model, texts, reference, config.evaluation, "cpu"
        )
    assert values["forgetting.kl"] > 0.001


def test_texts_that_nothing_is_generated_from_are_other_texts():
    """A watched part as large as the whole split once took the place of the whole one's reference."""
    from dataclasses import replace

    import numpy as np

    from harness.data.tokens.encode import Encoded
    from harness.evaluation.texts import Texts

    one = Encoded(
        np.array([1, 2, 3], np.int32), np.array([0, 3]), np.array([1], np.int32),
        np.array([0], np.int32), np.array([2]), {},
    )  # fmt: skip
    whole = Texts("validation", (), one, [np.array([1, 2], np.int32)], None, None)
    assert whole.fingerprint != replace(whole, prompts=[]).fingerprint
