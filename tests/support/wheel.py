"""A wheel of this very program with another version number, made without a build tool or the net (PEP 427)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pixstored

_PACKAGE = Path(pixstored.__file__).parent
_METADATA = "Metadata-Version: 2.1\nName: pixstored\nVersion: {version}\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_SCRIPT = "[console_scripts]\npixstored = pixstored.__main__:main\n"


def make_wheel(folder: Path, version: str) -> Path:
    """Writes the wheel into the folder."""
    wheel = folder / f"pixstored-{version}-py3-none-any.whl"
    info = f"pixstored-{version}.dist-info"
    described = {"METADATA": _METADATA.format(version=version), "WHEEL": _WHEEL, "entry_points.txt": _SCRIPT}
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in sorted(_PACKAGE.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.writestr(f"pixstored/{file.relative_to(_PACKAGE)}", _with_version(file, version))
        for name, text in described.items():
            archive.writestr(f"{info}/{name}", text)
        record = "".join(f"{name},,\n" for name in [*archive.namelist(), f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return wheel


def _with_version(file: Path, version: str) -> bytes:
    content = file.read_bytes()
    if file != _PACKAGE / "__init__.py":
        return content
    ours = f'__version__ = "{pixstored.__version__}"'.encode()
    assert ours in content
    return content.replace(ours, f'__version__ = "{version}"'.encode())
