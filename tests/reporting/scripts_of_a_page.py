"""The scripts of a page, and the page without them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
DATA = re.compile(r'<script type="application/json" id="([\w-]+)-data">(.*?)</script>', re.DOTALL)


def without_scripts(page: str) -> str:
    """Return the page without its scripts and the data of its charts.

    Each script must be one that the page's own security policy allows by its SHA-256.
    """
    policy = re.search(r"script-src ([^;]*);", page)
    allowed = set(policy[1].split()) if policy else set()
    for script in SCRIPT.findall(page):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed, script[:80]
    return DATA.sub("", SCRIPT.sub("", page))


def chart_of(page: str, name: str = "front") -> dict[str, Any]:
    """Return the values behind an interactive chart: 'front' or 'settings'."""
    found = {match[1]: match[2] for match in DATA.finditer(page)}
    assert name in found, "the page has no such chart"
    return json.loads(found[name])
