"""Remarks of libraries: they go to a file instead of the terminal.

A user cannot act on kernels for other machines, names that will change, and bars of loading. Errors of
libraries, and whatever is not known to be a library's remark, are shown as ever.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TextIO

__all__ = ["LOG", "divert_remarks", "keep_remarks"]

LOG = "libraries.log"  # in the folder of a trial that was run by hand, and in that of a sweep
LIBRARIES = frozenset(
    (
        *("torch", "torchao", "transformers", "peft", "accelerate", "bitsandbytes", "datasets"),
        *("evaluate", "lm_eval", "huggingface_hub", "filelock", "fsspec", "httpx", "urllib3"),
        *("absl", "rouge_score", "sacrebleu", "matplotlib", "optuna", "wandb", "numba", "jax"),
        *("tensorflow", "neural_compressor"),
    )
)
# Read by the libraries when they are imported; workers inherit them.
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # downloads, and the weights of transformers
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
MOST_WAITING = 1000  # remarks that are kept until it is known where to

_INSTALLED = ("site-packages", "dist-packages")
_OURS = str(Path(__file__).parent.parent) + os.sep
_file: Path | None = None
_waiting: list[str] = []
_form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _LibraryLogger(logging.Logger):
    """A logger whose records below ERROR reach the file, and no handler, where it is a library's.

    Libraries add handlers of their own to their loggers, which write to standard error.
    """

    def callHandlers(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR and self.name.partition(".")[0] in LIBRARIES:
            _keep(_form.format(record))
        else:
            super().callHandlers(record)


def divert_remarks() -> None:
    """Divert the remarks of libraries that this process imports from now on."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.setLoggerClass(_LibraryLogger)
    show = warnings.showwarning

    def divert(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is None and _is_library(filename, category):
            _keep(warnings.formatwarning(message, category, filename, lineno, line).rstrip())
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = divert


def keep_remarks(folder: Path) -> None:
    """Write remarks to ``folder`` from now on, with those that came before. It need not exist yet."""
    global _file
    _file = folder / LOG
    waiting, _waiting[:] = list(_waiting), []
    for text in waiting:
        _keep(text)


def _is_library(filename: str, category: type[Warning]) -> bool:
    """Return whether a warning is a library's: raised there, or about a name that we use of it."""
    if filename.startswith(_OURS):
        return issubclass(category, DeprecationWarning | FutureWarning)
    return any(f"{os.sep}{name}{os.sep}" in filename for name in _INSTALLED)


def _keep(text: str) -> None:
    if _file is None:
        _waiting[MOST_WAITING:] = []
        _waiting.append(text)
        return
    try:
        _file.parent.mkdir(parents=True, exist_ok=True)
        with _file.open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")
    except OSError:  # a remark is not worth the trial
        pass
