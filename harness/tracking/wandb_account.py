"""Check of a W&B account without importing wandb: server address, API key, reachability."""

from __future__ import annotations

import configparser
import importlib.util
import netrc
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

PROBE_SECONDS = 4.0


def is_installed() -> bool:
    return importlib.util.find_spec("wandb") is not None


def base_url() -> str:
    """Return the server's URL from the environment, W&B's settings file, or the public default."""
    named = os.environ.get("WANDB_BASE_URL")
    if not named:
        default = Path.home() / ".config" / "wandb"
        settings = configparser.ConfigParser()
        try:
            settings.read(Path(os.environ.get("WANDB_CONFIG_DIR", default)) / "settings")
            named = settings.get("default", "base_url", fallback=None)
        except (configparser.Error, OSError, UnicodeDecodeError):
            named = None
    return (named or "https://api.wandb.ai").rstrip("/")


def has_key() -> bool:
    """Return whether an API key is in the environment or in netrc, where ``wandb login`` writes it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / name for name in (".netrc", "_netrc")]
    host = urlsplit(base_url()).hostname or ""
    for file in files:
        try:
            # ignores the "default" entry, which is no W&B key
            if host in netrc.netrc(str(file)).hosts:
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether the server at ``url`` answers in time, including the DNS lookup."""
    found = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=seconds).close()
        except urllib.error.HTTPError:
            pass
        except (OSError, ValueError):
            return
        found.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return found.is_set()


def why_not_online() -> str | None:
    """Return what is missing for uploading during the sweep; None if nothing is."""
    if not has_key():
        return "no API key is set (wandb login, or WANDB_API_KEY)"
    if not answers(base_url()):
        return f"{base_url()} does not answer"
    return None
