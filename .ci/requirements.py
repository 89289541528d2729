"""Requirements of this project in the forms that the Makefile needs.

pip install --dry-run --report - ... | python .ci/requirements.py pin     print constraints.txt
python .ci/requirements.py newest                  print every requirement without its upper bound
python .ci/requirements.py differences             print what is installed beside what is pinned
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = "finetune-harness"
TORCH = "torch"  # its build (CPU, CUDA, ROCm) follows the machine, so it is named and not pinned

HEADER = """\
# Versions that the tests passed with. `make constraints` writes this file; `make` and CI install by it.
# torch is not pinned, because its build follows the machine. Tested with torch=={torch}"""


def pinned(report: str) -> str:
    """Return constraints for what ``pip install --report -`` resolved."""
    found = {
        re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower(): each["metadata"]["version"]
        for each in json.loads(report)["install"]
    }
    torch = found[TORCH].partition("+")[0]
    follow_torch = re.compile(rf"{TORCH}$|nvidia-(?!ml-py)|cuda-|triton")
    lines = [
        f"{name}=={version}"
        for name, version in sorted(found.items())
        if name not in (OURS, "pip") and not follow_torch.match(name)
    ]
    return "\n".join([HEADER.format(torch=torch), *lines])


def newest() -> list[str]:
    """Return the requirements of package and tests; of all but torch the upper bounds are set aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["ptq"]]
    wanted = [each for each in wanted if not each.startswith(OURS)]
    return [
        each if each.startswith(TORCH + ">") else re.sub(r",?<[^,]+", "", each) for each in wanted
    ]


def differences() -> list[str]:
    """Return a line for each installed package whose version is not the pinned one."""
    lines = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if line.startswith("#"):
            continue
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if here != version:
            lines.append(f"{name} {here} (pinned: {version})")
    return lines


if __name__ == "__main__":
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command == "pin":
        print(pinned(sys.stdin.read()))
    elif command == "newest":
        print("\n".join(newest()))
    elif command == "differences":
        print("\n".join(differences()) or "Everything is as pinned.")
    else:
        sys.exit(__doc__)
