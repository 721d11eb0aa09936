"""A wheelhouse made on the spot: wheels as pip takes them, without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def make_wheel(
    folder: Path, name: str, files: Mapping[str, str], *, tag: str = "py3-none-any", requires: tuple[str, ...] = ()
) -> Path:
    """``files``: text by path. The format is that of the wheel specification (PEP 427)."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    wheel = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    content = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in content.items())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**content, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(inside, (1980, 1, 1, 0, 0, 0)), text)
    return path


def make_wheelhouse(folder: Path, *archs: str, python: str = "311") -> Path:
    """An agent that needs a package with code for one processor, which is there for each of ``archs``."""
    script = {"han_agent-1.0.dist-info/entry_points.txt": "[console_scripts]\nhan-agent = agent.cli:main\n"}
    package = {"agent/__init__.py": "", "agent/cli/__init__.py": "def main() -> int:\n    return 0\n"}
    make_wheel(folder, "han-agent", {**package, **script}, requires=("native>=1",))
    for arch in archs:
        tag = f"cp{python}-cp{python}-manylinux_2_28_{arch}"
        make_wheel(folder, "native", {"native/__init__.py": f"ARCH = {arch!r}\n"}, tag=tag)
    return folder


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
