"""Upload of an export to the hub, by its own library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.records.secrets import scrub


class NotUploaded(Exception):
    """The hub did not take the export. The message says why; the export itself is whole."""


def check_push(repository: str) -> None:
    """Raises InputError without a token, before anything is measured or written."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError(
            f"push={repository!r} needs a token with write access: set HF_TOKEN, or run "
            "`hf auth login`."
        )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputError(f"push={repository!r} cannot be used: HF_HUB_OFFLINE forbids it.")


def push(folder: Path, repository: str, private: bool) -> str:
    """Upload ``folder`` as one repository, made if there is none, and return its address.

    A repository that exists keeps its visibility. A public one is not written to unless ``private``
    is false. Raises InputError and NotUploaded.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        try:
            known = hub.model_info(repository)
        except RepositoryNotFoundError:
            known = None
        if known is not None and private and known.private is False:
            raise InputError(
                f"push={repository!r} cannot be used: this repository exists and is public. "
                "private=false uploads to it all the same."
            )
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=address.repo_id,
            folder_path=folder,
            commit_message="Export of a fine-tuned model with its measured card",
            ignore_patterns=[".*", "**/.*"],
        )
    except InputError:
        raise
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        raise NotUploaded(f"push={repository!r}: {scrub(_said(error))}") from error
    return str(address)


def _said(error: Any) -> str:
    """Return the hub's own words, else the first line of the error and of what caused it."""
    words = getattr(error, "server_message", None) or str(error).strip().splitlines()[0:1]
    text = words if isinstance(words, str) else " ".join(words)
    cause = error.__cause__
    more = (
        f" ({type(cause).__name__}: {str(cause).splitlines()[0]})" if cause and str(cause) else ""
    )
    return f"{text or type(error).__name__}{more}"
