"""Looking at a slot: a copy in a sealed memory file, the verdict on that copy, and what is to be said of it.

A sealed memory file cannot be written, grown or shrunk by anybody, root included: what was verified is what runs.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass

from Crypto.PublicKey.ECC import EccKey

from agent.boot.decide import Look
from agent.boot.slots import READ_OCTETS, find_length
from agent.errors import FormatError, StorageError
from agent.image import mcuboot
from agent.image.origin import check_for_boot
from agent.image.version import Version
from agent.ports import Area

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class Inspection:
    """``descriptor`` is the sealed copy, None when there was nothing to copy; the caller closes it."""

    look: Look
    version: Version | None = None
    descriptor: int | None = None

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)


def inspect_slot(area: Area, trusted_keys: Mapping[bytes, EccKey], minimum_security_counter: int) -> Inspection:
    """Copy, seal, verify. What the slot holds, or that it cannot be read, is a refusal and never raises."""
    try:
        length = find_length(area)
        descriptor = copy_to_memory(area, length)
    except (FormatError, StorageError) as error:
        return Inspection(Look(str(error)))
    # The mapping lives as long as the views into it; it holds its own reference to the memory file.
    copy = mmap.mmap(descriptor, length, prot=mmap.PROT_READ)
    try:
        image = mcuboot.parse(memoryview(copy))
    except FormatError as error:
        return Inspection(Look(str(error)), descriptor=descriptor)
    refusal = check_for_boot(image, trusted_keys, minimum_security_counter)
    look = Look(
        refusal=None if refusal is None else refusal.message,
        image_hash=image.manufacturer_image_hash,
        image_octets=image.total_octets,
        security_counter=image.security_counter or 0,
    )
    return Inspection(look, image.version, descriptor)


def copy_to_memory(area: Area, length: int) -> int:
    """Descriptor of a sealed memory file with the first ``length`` octets of ``area``. Raises StorageError."""
    # Without MFD_CLOEXEC: the descriptor is to outlive the exec, under the path /proc/self/fd/N.
    descriptor = os.memfd_create("han-firmware", os.MFD_ALLOW_SEALING)
    try:
        for offset in range(0, length, READ_OCTETS):
            _write_whole(descriptor, area.read(offset, min(READ_OCTETS, length - offset)))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except OSError as error:
        os.close(descriptor)
        raise StorageError(f"no memory for a copy of {length} octets: {error.strerror}") from None
    except StorageError:
        os.close(descriptor)
        raise
    return descriptor


def _write_whole(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
