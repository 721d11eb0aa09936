"""The virtual board: emulated CC2652s on one air, a disk, a boot ROM."""
