"""The locks of requirements/: every line pinned, a software bill of materials (CycloneDX 1.6), and the licences.

``.venv/bin/python scripts/audit.py [FOLDER]`` writes ``FOLDER/sbom-LOCK.json`` for each lock (default: ``sbom/``);
it asks no server.
Exit status: 0, or 2 with one line for each lock line that names no single version.
"""

import json
import re
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ("cpu", "cuda", "test")
PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)(?:\s*;.*)?")
UNKNOWN = "not said"


def read_lock(text: str) -> tuple[dict[str, str], list[str]]:
    """Name and version of each line of a lock, and the lines that do not name exactly one version."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = {line: PINNED.fullmatch(line) for line in lines}
    pinned = {match[1]: match[2] for match in found.values() if match}
    return pinned, [line for line, match in found.items() if not match]


def licence(name: str) -> str:
    """What the installed package says of itself: the expression, a short licence field, or its classifiers."""
    try:
        facts = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN
    said = facts.get("License-Expression") or facts.get("License") or ""
    if said and "\n" not in said and len(said) < 60:
        return said
    kinds = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier") or () if line.startswith("License")]
    return " AND ".join(sorted(set(kinds) - {"OSI Approved"})) or UNKNOWN


def component(name: str, version: str) -> dict[str, Any]:
    """A library as CycloneDX has it; its reference is the package URL."""
    url = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    found: dict[str, Any] = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
    if (said := licence(name)) != UNKNOWN:
        found["licenses"] = [{"license": {"name": said}}]
    return found


def bill(pinned: dict[str, str]) -> dict[str, Any]:
    """The bill of materials of a lock; the same lock gives the same bill."""
    setup = (ROOT / "setup.py").read_text("utf-8")
    version = re.search(r'version="([^"]+)"', setup)
    assert version, "setup.py has a version"
    ours = {"type": "application", "bom-ref": "tr-grpo", "name": "tr-grpo", "version": version[1]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours | {"licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": [component(name, pinned[name]) for name in sorted(pinned)],
    }


def main(folder: Path) -> int:
    """Write the bills and print the licences; see the head of this file."""
    faults = []
    for lock in LOCKS:
        pinned, loose = read_lock((ROOT / "requirements" / f"{lock}.txt").read_text("utf-8"))
        faults += [f"requirements/{lock}.txt: {line!r} does not pin one version (NAME==VERSION)" for line in loose]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"sbom-{lock}.json"
        made = bill(pinned)
        path.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
        said = Counter(
            part["licenses"][0]["license"]["name"] if "licenses" in part else UNKNOWN for part in made["components"]
        )
        print(f"{path}: {len(pinned)} packages")
        print("  " + "; ".join(f"{name} {number}" for name, number in said.most_common()))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2] or ["sbom"])))
