"""Names of the available scores for generated answers."""

from __future__ import annotations

from pathlib import PurePath

from harness.errors import InputError, unknown
from harness.statistics.measurements.of_answers import ANSWER_METRICS

OWN = tuple(name for name, kind in ANSWER_METRICS.items() if kind.scorer)
JUDGE = "judge"
ALWAYS = ("perplexity", "bits_per_byte")
OF_CLASSES = ("accuracy", "macro_f1", "loss")  # of a classifier, always
FROM_EVALUATE = "evaluate:"  # in front of a name in Hugging Face's evaluate, or of a local path
TOKENIZERS = (
    *("13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab"),
    *("spm", "flores101", "flores200"),
)


def is_external(metric: str) -> bool:
    """Return True for a metric of Hugging Face's evaluate, whose script is Python code that is run."""
    return metric.startswith((FROM_EVALUATE, "./", "../", "/"))


def external_path(metric: str) -> str:
    """Return the argument of evaluate.load: 'rouge' for 'evaluate:rouge', './mine' for './mine'."""
    return metric.removeprefix(FROM_EVALUATE)


def measured_as(metric: str) -> str:
    """Return the measurement name after the split: 'bleu'; 'evaluate.meteor' for 'evaluate:meteor'.

    For a script with several values, the name of each value follows.
    """
    if not is_external(metric):
        return metric
    stem = PurePath(external_path(metric)).stem
    return "evaluate." + "".join(c if c.isalnum() or c in "_-" else "_" for c in stem)


def check_metrics(metrics: list[str]) -> None:
    """Raise InputError for an unknown metric, and for third-party scripts."""
    for metric in metrics:
        if metric in ALWAYS + OF_CLASSES:
            when = "always measured" if metric in ALWAYS else "always measured of a classifier"
            raise InputError(f"evaluation.metrics: {metric} is {when}; leave it out.")
        if not is_external(metric):
            if metric not in (*OWN, JUDGE):
                known = (*OWN, JUDGE, "evaluate:NAME", "./a/local/metric")
                raise unknown("metric in evaluation.metrics", metric, known)
            continue
        path = external_path(metric)
        local = path.startswith((".", "/"))
        if not path or ("/" in path and not local):
            raise InputError(
                f"evaluation.metrics: {metric!r} cannot be used: a metric is Python code that runs "
                "here. From the hub only evaluate's own metrics are run (evaluate:meteor). Download "
                "this one, read it, and give its path (./my_metric)."
            )
    names = [measured_as(metric) for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"evaluation.metrics: {name} is named twice.")
