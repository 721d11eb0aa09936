"""A disk in memory whose power can be cut at any operation.

What it models, as SD cards and the kernel behave:

- Writes and erasures go to a cache; only ``sync`` of the same area makes them durable. Reads see the cache.
- At a cut each unsynced sector of 512 octets fares by itself: old, any version written since the last sync, or torn
  (a part of one version, the rest of another). So unsynced writes are lost in any order.
- The interrupted operation is itself among the unsynced ones; an interrupted ``sync`` made any part durable.
- A *kill* ends the process only: the cache stays, and may be lost by a power cut later.
- ``read_medium`` sees what is durable, not the cache.
- An operation may fail instead (``fail_at``): EIO, ENOSPC, or ENOSPC after half of a write; once, or from then on until
  ``heal``. A sync that failed has forgotten what it should have written, as Linux has: it is in the cache, and no later
  sync makes it durable.

What it does not model: a ``sync`` that lies, a torn sector that takes its neighbours along (erase-block damage),
reads that fail, octets that change by themselves. For the last there is ``DiskArea.damage``.
"""

from boards.virtual.disk.disk import Cut, Disk, DiskArea, Operation, PowerCut
from boards.virtual.disk.faults import Fault, MediumFault
from boards.virtual.disk.sectors import SECTOR_OCTETS, Sectors, Survival

__all__ = [
    "SECTOR_OCTETS",
    "Cut",
    "Disk",
    "DiskArea",
    "Fault",
    "MediumFault",
    "Operation",
    "PowerCut",
    "Sectors",
    "Survival",
]
