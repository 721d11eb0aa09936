"""The given image into a sparse file: plain or xz, told by its first octets and never by its name."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from agent.boot.area import explain
from agent.errors import SettingsError, StorageError

PIECE_OCTETS = 1024 * 1024
XZ_MAGIC = b"\xfd7zXZ\0"
OTHERS = {b"PK\x03\x04": "a zip archive: unzip it first", b"\x1f\x8b": "gzip: gunzip it first"}
OTHERS |= {b"\x28\xb5\x2f\xfd": "zstd: unzstd it first", b"BZh": "bzip2: bunzip2 it first"}

Show = Callable[[str, int, int], None]  # step, octets done, octets in all


def copy_image(source: Path, target: Path, show: Show) -> None:
    """Holes where the image has zeros. Raises SettingsError for what is no image, StorageError."""
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(source.open("rb"))
        except OSError as error:
            raise SettingsError(f"{source}: cannot be read: {error.strerror}; name an image with --image") from None
        total = source.stat().st_size
        plain = stack.enter_context(lzma.LZMAFile(raw)) if _is_xz(raw, source) else raw
        try:
            out = stack.enter_context(target.open("wb"))
            while piece := plain.read(PIECE_OCTETS):
                _write_sparse(out, piece)
                show("copy", raw.tell(), total)
            out.truncate(out.tell())
        except (lzma.LZMAError, EOFError) as error:
            raise StorageError(f"{source}: damaged: {error}; fetch it again") from None
        except OSError as error:
            raise explain(error, target, "write") from None


def put_file(source: Path, target: Path, offset_octets: int) -> None:
    """Into ``target``, which is there and has zeros in that place. Raises StorageError."""
    try:
        with source.open("rb") as file, target.open("r+b") as out:
            out.seek(offset_octets)
            while piece := file.read(PIECE_OCTETS):
                _write_sparse(out, piece)
    except OSError as error:
        raise explain(error, target, "write") from None


def take_file(source: Path, target: Path, offset_octets: int, octets: int) -> None:
    """A part of ``source`` as a file of its own. Raises StorageError."""
    try:
        with source.open("rb") as file, target.open("wb") as out:
            file.seek(offset_octets)
            while octets > out.tell() and (piece := file.read(min(PIECE_OCTETS, octets - out.tell()))):
                _write_sparse(out, piece)
            out.truncate(octets)
    except OSError as error:
        raise explain(error, target, "write") from None


def _write_sparse(out: BinaryIO, piece: bytes) -> None:
    if piece.count(0) == len(piece):
        out.seek(len(piece), 1)
    else:
        out.write(piece)


def _is_xz(raw: BinaryIO, source: Path) -> bool:
    start = raw.read(8)
    raw.seek(0)
    for magic, remedy in OTHERS.items():
        if start.startswith(magic):
            raise SettingsError(f"{source}: {remedy}; --image takes .img and .img.xz")
    return start.startswith(XZ_MAGIC)
