"""Check of a W&B account without importing wandb: address, key and answer."""

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
    """Return the server's URL: from the environment, else W&B's settings file, else the public one."""
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
    """Return whether a key is in the environment or in netrc, where ``wandb login`` writes it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / name for name in (".netrc", "_netrc")]
    host = urlsplit(base_url()).hostname or ""
    for file in files:
        try:
            # not the "default" entry, which is no W&B key
            if host in netrc.netrc(str(file)).hosts:
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether a server answers at ``url`` in time, name look-up included."""
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
    """Return None if a run can be uploaded while it runs, else what is missing."""
    if not has_key():
        return "no API key is set (wandb login, or WANDB_API_KEY)"
    if not answers(base_url()):
        return f"{base_url()} does not answer"
    return None
