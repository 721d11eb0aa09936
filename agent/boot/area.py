"""A storage area on a regular file or a block device: the real `agent.ports.Area`.

Writes reach the page cache; only ``sync`` makes them durable. ``read_medium`` goes past the page cache, so that a
read-back compares what the medium holds and not what we remember having written. Every failure is a StorageError that
names the path, the operation and the remedy.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from agent.boot.partitions import locate
from agent.errors import StorageError, StorageFullError
from agent.ports import Area

BLOCK_OCTETS = 4096  # a multiple of every sector size in use; the alignment that O_DIRECT needs
BLKDISCARD = 0x1277  # linux/fs.h
BLKZEROOUT = 0x127F
FALLOC_FL_KEEP_SIZE = 0x01  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE = 0x02

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.ENOSPC: "the file system is full: free space on it, then try again",
    errno.EDQUOT: "the disk quota is used up: free space or raise it, then try again",
    errno.EIO: "the medium reports an I/O error: replace the card if it comes again",
    errno.EACCES: "no permission: run as the agent's user, or correct the owner of the file",
    errno.EPERM: "no permission: run as the agent's user, or correct the owner of the file",
    errno.EROFS: "the file system is read-only: see the kernel log for why it was remounted",
    errno.ENOENT: "it does not exist: provision the device first (han-agent provision), or correct [storage]",
    errno.EISDIR: "it is a folder: correct [storage]",
}


class Medium(Area, Protocol):
    """An area whose medium can be read past the cache."""

    def read_medium(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` octets as the medium holds them. Raises StorageError."""


class FileArea:
    """A regular file or a block device of fixed size. Make one with ``FileArea.open``; close it, or use ``with``."""

    def __init__(self, path: Path, descriptor: int, size_octets: int, *, block_device: bool, read_only: bool) -> None:
        self.path = path
        self._descriptor = descriptor
        self._size_octets = size_octets
        self._block_device = block_device
        self._read_only = read_only

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open what is there, ``PARTUUID=...`` included. Raises StorageError: no regular file, no block device."""
        path = locate(path)
        try:
            descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            raise explain(error, path, "open") from None
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            os.close(descriptor)
            raise StorageError(f"{path}: neither a regular file nor a block device; correct [storage]")
        size_octets = os.lseek(descriptor, 0, os.SEEK_END)
        return cls(path, descriptor, size_octets, block_device=stat.S_ISBLK(mode), read_only=read_only)

    @property
    def size_octets(self) -> int:
        return self._size_octets

    def read(self, offset: int, length: int) -> bytes:
        self._check_bounds(offset, length, "read")
        pieces: list[bytes] = []
        while length:
            try:
                piece = os.pread(self._descriptor, length, offset)
            except OSError as error:
                raise explain(error, self.path, f"read at octet {offset}") from None
            if not piece:
                raise StorageError(f"{self.path}: ends at octet {offset}: it was cut short; provision the device anew")
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_medium(self, offset: int, length: int) -> bytes:
        """As ``read``, past the page cache: O_DIRECT, or where the file system has none, after dropping the cache."""
        self._check_bounds(offset, length, "read")
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise explain(error, self.path, "open") from None
            return self._read_uncached(offset, length)
        try:
            return _read_direct(descriptor, offset, length)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise explain(error, self.path, f"read at octet {offset}") from None
            return self._read_uncached(offset, length)
        finally:
            os.close(descriptor)

    def write(self, offset: int, data: bytes) -> None:
        self._check_writable()
        self._check_bounds(offset, len(data), "write")
        rest = memoryview(data)
        while rest:
            try:
                written = os.pwrite(self._descriptor, rest, offset)
            except OSError as error:
                raise explain(error, self.path, f"write at octet {offset}") from None
            rest, offset = rest[written:], offset + written

    def sync(self) -> None:
        self._check_writable()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise explain(error, self.path, "fsync") from None

    def erase(self, offset: int, length: int) -> None:
        """Zeros, given back to the medium where it can: a hole in a file, discarded sectors on a device."""
        self._check_writable()
        self._check_bounds(offset, length, "erase")
        first = -(-offset // BLOCK_OCTETS) * BLOCK_OCTETS
        last = (offset + length) // BLOCK_OCTETS * BLOCK_OCTETS
        if last <= first or not self._deallocate(first, last - first):
            self._write_zeros(offset, offset + length)
            return
        self._write_zeros(offset, first)
        self._write_zeros(last, offset + length)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No other process that asks the same is inside at the same time (flock)."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_uncached(self, offset: int, length: int) -> bytes:
        os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)
        return self.read(offset, length)

    def _deallocate(self, offset: int, length: int) -> bool:
        """Whether the medium itself made zeros of a range aligned to BLOCK_OCTETS."""
        # On a block device this is "zeros, unmapped": refused where the medium does not promise zeros after a discard.
        if _punch_hole(self._descriptor, offset, length):
            return True
        if not self._block_device:
            return False
        octets = struct.pack("QQ", offset, length)
        try:
            # Discard alone promises nothing about what is read afterwards: zero-out does, at the price of writing.
            with suppress(OSError):
                fcntl.ioctl(self._descriptor, BLKDISCARD, octets)
            fcntl.ioctl(self._descriptor, BLKZEROOUT, octets)
        except OSError:
            return False
        return True

    def _write_zeros(self, start: int, end: int) -> None:
        for offset in range(start, end, 64 * 1024):
            self.write(offset, bytes(min(64 * 1024, end - offset)))

    def _check_writable(self) -> None:
        if self._read_only:
            raise StorageError(f"{self.path}: opened read-only")

    def _check_bounds(self, offset: int, length: int, verb: str) -> None:
        if offset < 0 or length < 0 or offset + length > self._size_octets:
            raise StorageError(
                f"{self.path}: {verb} of {length} octets at octet {offset} is beyond its {self._size_octets} octets"
            )


def make_area_file(path: Path, size_octets: int) -> None:
    """A sparse file of at least ``size_octets`` at ``path``, durable; what is there is kept and made longer.

    A block device, ``PARTUUID=...`` included, is only checked for being large enough. Raises StorageError.
    """
    path = locate(path)
    if path.is_block_device():
        with FileArea.open(path, read_only=True) as area:
            if area.size_octets < size_octets:
                raise StorageError(f"{path}: {area.size_octets} octets, {size_octets} needed: make it larger")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < size_octets:
                os.ftruncate(descriptor, size_octets)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        raise explain(error, path, "make") from None


def sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(error: OSError, path: Path, operation: str) -> StorageError:
    """An OSError as a StorageError: which file, which operation, what to do."""
    remedy = REMEDIES.get(error.errno or 0)
    reason = os.strerror(error.errno) if error.errno else str(error)
    kind = StorageFullError if error.errno in NO_ROOM else StorageError
    return kind(f"{path}: cannot {operation}: {reason}" + (f"; {remedy}" if remedy else ""))


def _read_direct(descriptor: int, offset: int, length: int) -> bytes:
    first = offset // BLOCK_OCTETS * BLOCK_OCTETS
    room = -(-(offset + length - first) // BLOCK_OCTETS) * BLOCK_OCTETS
    with mmap.mmap(-1, max(room, BLOCK_OCTETS)) as buffer:  # anonymous memory begins at a page, as O_DIRECT wants
        filled = 0
        while filled < offset + length - first:
            with memoryview(buffer) as view, view[filled:room] as rest:
                count = os.preadv(descriptor, [rest], first + filled)
            if not count:
                break
            filled += count
            if count % BLOCK_OCTETS:
                break  # the end of a file whose size is no multiple of a block
        if filled < offset + length - first:
            raise OSError(errno.EIO, "short read")
        return buffer[offset - first : offset - first + length]


def _punch_hole(descriptor: int, offset: int, length: int) -> bool:
    import ctypes  # noqa: PLC0415  (10 ms that only an erase pays for; the first stage never erases)

    libc = ctypes.CDLL(None, use_errno=True)
    # On 32-bit glibc only the 64 variant takes 64-bit offsets; musl has but the one, which always does.
    fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return bool(fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0)
