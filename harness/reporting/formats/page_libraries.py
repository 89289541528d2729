"""JavaScript libraries that a page carries inside it: Vega-Lite for the front, DataTables for tables.

Both come from installed packages, so a page asks no server for anything. Without them a page still
shows everything, only without hovering, sorting and filtering.
"""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from harness.paths import cache_folder
from harness.records import write_text

__all__ = ["charts", "digest", "tables"]


@cache
def charts() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that defines ``vegaEmbed``.

    The bundle is the same for each version of vl-convert, which takes some seconds to write it. It
    is kept in the user's cache folder.
    """
    folder = cache_folder()
    kept = folder / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeDecodeError):
        return kept.read_text("utf-8")
    import vl_convert

    script = _inside_a_page(vl_convert.javascript_bundle())  # pyright: ignore[reportCallIssue]
    if folder.is_absolute():  # a user without a home folder has none
        with suppress(OSError):
            write_text(kept, script)
    return script


@cache
def tables() -> str:
    """Return DataTables as one script that defines ``DataTable``; empty if its form is unknown.

    itables ships it as a module. Its last statement exports names, which a classic script may not.
    """
    module = files("itables").joinpath("html", "dt_bundle.js").read_text("utf-8")
    found = re.search(r"export\s*\{([^}]*)\}\s*;?", module)
    default = re.search(r"([\w$]+) as default", found[1]) if found else None
    if found is None or default is None:
        return ""
    script = module[: found.start()] + f"globalThis.DataTable={default[1]};" + module[found.end() :]
    return _inside_a_page("(()=>{" + script + "\n})();")


def digest(script: str) -> str:
    """Return the source expression that allows exactly this script in a page's security policy."""
    hashed = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(hashed).decode()}'"


def _inside_a_page(script: str) -> str:
    """Return the script with nothing in it that a browser would take for the end of the script."""
    return re.sub(r"<(?=/script|!--|script)", r"\\x3c", script, flags=re.IGNORECASE)
