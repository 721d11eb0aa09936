"""An ext4 file system inside an image, read and edited through debugfs: no mount, no loop device, no root.

Nothing can be left mounted, and what is written bears one date, so that the same edits make the same octets; the
kernel's own writes never do. ``e2fsck -fn`` judges the result.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.boot.area import FileArea
from agent.errors import StorageError
from flash.sd.source import put_file, take_file
from flash.sd.tools import last_words, run_tool

SUPERBLOCK_OFFSET_OCTETS = 1024  # Documentation/filesystems/ext4/super.rst
SUPERBLOCK_MAGIC = 0xEF53
INCOMPAT_RECOVER = 0x4
INCOMPAT_64BIT = 0x80
BLOCK_OCTETS = 4096
ROOT = 0
BANNER = "debugfs "

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Superblock:
    """What is asked of it. ``written``: POSIX time of the last change."""

    block_octets: int
    blocks: int
    free_blocks: int
    free_inodes: int
    clean: bool
    written: int

    @property
    def free_octets(self) -> int:
        return self.free_blocks * self.block_octets


@dataclass(frozen=True, slots=True)
class Stat:
    """Permission bits and owner of what is there."""

    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is to be there; one that is keeps its mode and owner unless ``force``."""

    path: str
    mode: int = 0o755
    uid: int = ROOT
    gid: int = ROOT
    force: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file that is to be there, over one that is. ``source``: its octets, or the file that has them."""

    path: str
    source: bytes | Path
    mode: int = 0o644
    uid: int = ROOT
    gid: int = ROOT


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, over what is there."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Absent:
    """A file or link that is to be gone."""

    path: str


Edit = Folder | File | Link | Absent


class Ext4:
    """The file system at ``offset_octets`` of ``image``; files pass through the folder ``scratch``."""

    def __init__(self, image: Path, offset_octets: int, scratch: Path) -> None:
        self._image = image
        self._offset_octets = offset_octets
        self._scratch = scratch

    @property
    def _name(self) -> str:
        return f"{self._image.name}?offset={self._offset_octets}"

    def superblock(self) -> Superblock:
        """Raises StorageError when there is no ext4 file system."""
        with self._image.open("rb") as file:
            file.seek(self._offset_octets + SUPERBLOCK_OFFSET_OCTETS)
            return _parse_superblock(file.read(1024))

    def stat(self, paths: Iterable[str]) -> dict[str, Stat]:
        """Those that are there; the last part of a path is not followed when it is a link."""
        paths = list(dict.fromkeys(paths))
        found: dict[str, Stat] = {}
        current = ""
        done = self._debugfs([f"stat {_quote(path)}" for path in paths])
        for line in done.stdout.splitlines():
            words = line.split()
            if line.startswith("debugfs: stat "):
                current = line.removeprefix("debugfs: stat ").strip('"')
            elif line.startswith("Inode:") and "Mode:" in words:
                found[current] = Stat(int(words[words.index("Mode:") + 1], 8), 0, 0)
            elif line.startswith("User:") and current in found:
                mode = found[current].mode
                found[current] = Stat(mode, int(words[1]), int(words[words.index("Group:") + 1]))
        return found

    def read(self, path: str) -> bytes | None:
        """A regular file's octets (links are followed), None when it is not there."""
        copy = self._scratch / "ext4-file"
        copy.unlink(missing_ok=True)
        self._debugfs([f"dump {_quote(path)} {_quote(str(copy))}"])
        if not copy.exists():
            return None
        octets = copy.read_bytes()
        copy.unlink()
        return octets

    def names(self, path: str) -> list[str]:
        """The entries of a folder, sorted; none when there is no such folder."""
        done = self._debugfs([f"ls -p {_quote(path)}"])
        entries = [line.split("/") for line in done.stdout.splitlines() if line.startswith("/")]
        return sorted(entry[5] for entry in entries if len(entry) > 5 and entry[5] not in ("", ".", ".."))

    def apply(self, edits: Sequence[Edit], date: int) -> None:
        """Make it so, in the order given; folders above a path must be there or come first. Raises StorageError."""
        there = set(self.stat(edit.path for edit in edits))
        commands: list[str] = []
        for edit in edits:
            commands += self._commands(edit, edit.path in there)
            there.discard(edit.path) if isinstance(edit, Absent) else there.add(edit.path)
        done = self._debugfs(commands, write=True, date=date)
        told = [line for line in done.stderr.splitlines() if line and not line.startswith(BANNER)]
        if told:
            raise StorageError(f"debugfs cannot change the root file system: {'; '.join(told[:3])}")

    def check(self) -> None:
        """Raises StorageError unless e2fsck finds nothing wrong."""
        done = run_tool("e2fsck", "-f", "-n", self._name, folder=self._image.parent, accepted=range(256))
        if done.returncode:
            raise StorageError(f"e2fsck finds the file system damaged: {last_words(done)}")

    def grow(self, size_octets: int, date: int) -> None:
        """Up to ``size_octets``; the partition must have them. Raises StorageError.

        In a copy: resize2fs (1.47) takes an offset and then cuts the file short as if there were none.
        """
        block = self.superblock()
        copy = self._image.with_name(f"{self._image.name}.root")
        try:
            take_file(self._image, copy, self._offset_octets, block.blocks * block.block_octets)
            run_tool("resize2fs", "-f", copy, f"{size_octets // 1024}K", date=date)
            with FileArea.open(self._image) as area:
                area.erase(self._offset_octets, size_octets)
            put_file(copy, self._image, self._offset_octets)
        finally:
            copy.unlink(missing_ok=True)

    def _commands(self, edit: Edit, there: bool) -> Iterator[str]:
        path = _quote(edit.path)
        match edit:
            case Folder():
                if not there:
                    yield f"mkdir {path}"
                if not there or edit.force:
                    yield from _owned(path, 0o040000 | edit.mode, edit.uid, edit.gid)
            case File():
                if there:
                    yield f"rm {path}"
                yield f"write {_quote(str(self._staged(edit)))} {path}"
                yield from _owned(path, 0o100000 | edit.mode, edit.uid, edit.gid)
            case Link():
                if there:
                    yield f"rm {path}"
                yield f"symlink {path} {_quote(edit.target)}"
            case Absent():
                if there:
                    yield f"rm {path}"

    def _staged(self, edit: File) -> Path:
        if isinstance(edit.source, Path):
            return edit.source
        path = self._scratch / "edits" / edit.path.strip("/").replace("/", "%")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(edit.source)
        return path

    def _debugfs(self, commands: Sequence[str], *, write: bool = False, date: int | None = None) -> Done:
        script = self._scratch / "debugfs-commands"
        script.write_text("\n".join(commands) + "\n", encoding="utf-8")
        options = ["-w"] if write else []
        done = run_tool("debugfs", *options, "-f", script, self._name, folder=self._image.parent, date=date)
        if "Filesystem not open" in done.stderr:
            raise StorageError(f"the ext4 file system cannot be opened: {last_words(done)}")
        return done


@dataclass(frozen=True, slots=True)
class NewExt4:
    """A file system to be made: who owns its root, and what would otherwise be random."""

    label: str
    uuid: str
    hash_seed: str
    uid: int
    gid: int
    mode: int


def make_ext4(image: Path, offset_octets: int, size_octets: int, wanted: NewExt4, date: int, scratch: Path) -> None:
    """An empty ext4 file system. Raises StorageError."""
    extended = {
        "offset": offset_octets,
        "root_owner": f"{wanted.uid}:{wanted.gid}",
        "hash_seed": wanted.hash_seed,
        "lazy_itable_init": 0,
        "lazy_journal_init": 0,
    }
    words = [f"{key}={value}" for key, value in extended.items()] + ["nodiscard"]
    options = ["-E", ",".join(words)]  # once: of two the first would be forgotten, and with it the offset
    options += ["-q", "-F", "-t", "ext4", "-b", str(BLOCK_OCTETS), "-U", wanted.uuid, "-L", wanted.label]
    run_tool("mke2fs", *options, image.name, f"{size_octets // 1024}k", folder=image.parent, date=date)
    Ext4(image, offset_octets, scratch).apply([Folder("/", wanted.mode, wanted.uid, wanted.gid, force=True)], date)


def folders_above(path: str) -> Iterator[Folder]:
    """Every folder on the way to ``path``, outermost first."""
    for parent in reversed(PurePosixPath(path).parents):
        if str(parent) != "/":
            yield Folder(str(parent))


def _owned(path: str, mode: int, uid: int, gid: int) -> Iterator[str]:
    yield f"sif {path} mode 0{mode:o}"
    if (uid, gid) != (ROOT, ROOT):
        yield f"sif {path} uid {uid}"
        yield f"sif {path} gid {gid}"


def _quote(text: str) -> str:
    if '"' in text or "\n" in text:
        raise StorageError(f"{text!r}: debugfs cannot take a name with a quotation mark in it; rename it")
    return f'"{text}"'


def _parse_superblock(octets: bytes) -> Superblock:
    if len(octets) < 1024 or struct.unpack_from("<H", octets, 0x38)[0] != SUPERBLOCK_MAGIC:
        raise StorageError("no ext4 file system in the root partition")
    inodes_free, log_block = struct.unpack_from("<I4xI", octets, 0x10)
    blocks, free = struct.unpack_from("<I4xI", octets, 0x04)
    incompat = struct.unpack_from("<I", octets, 0x60)[0]
    if incompat & INCOMPAT_64BIT:
        blocks |= struct.unpack_from("<I", octets, 0x150)[0] << 32
        free |= struct.unpack_from("<I", octets, 0x158)[0] << 32
    state = struct.unpack_from("<H", octets, 0x3A)[0]
    written = struct.unpack_from("<I", octets, 0x30)[0]
    return Superblock(
        1024 << log_block, blocks, free, inodes_free, state == 1 and not incompat & INCOMPAT_RECOVER, written
    )
