"""Who selects the slot: ``slots`` (the first stage, the default), ``tryboot`` or ``uboot`` (a boot loader).

``[boot] backend`` in device.toml names one. With a boot loader, slot X is boot partition X with the base system that it
starts, *and* firmware slot X: the first stage of base X verifies and runs firmware X, and an update is tried by a
restart of the machine. What the base partitions hold is made by whoever builds the medium; an update over the air
writes firmware slots only. ``tryboot`` and ``uboot`` are tested with fakes of the files and tools that they touch:
untested on metal.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack

from agent.boot.area import Medium
from agent.boot.backends.loader import Loader, LoaderControl
from agent.boot.backends.tryboot import Tryboot, TrybootPlaces, open_autoboot
from agent.boot.backends.uboot import ToolEnvironment, Uboot
from agent.boot.control import SlotsControl
from agent.boot.places import SLOTS, TRYBOOT, BootChoice, OpenPlaces
from agent.boot.refusal import BootRefusedError
from agent.boot.state import Slot
from agent.boot.store import BootStateStore

RESTART_LIMIT_S = 30.0
REMEDY = "the unit's user must be allowed to: systemd/han-agent-boot-loader.conf"


class LoaderSlots(LoaderControl, SlotsControl):
    """`SlotsControl` whose trials are armed and whose confirms are committed in a boot loader.

    ``running`` is the slot whose firmware runs: None for the factory agent and for a tool beside the device.
    """

    def __init__(
        self, store: BootStateStore, areas: Mapping[Slot, Medium], running: Slot | None, loader: Loader
    ) -> None:
        SlotsControl.__init__(self, store, areas, running)
        self._loader = loader


def open_loader(choice: BootChoice, stack: ExitStack) -> Loader | None:
    """The boot loader that selects the slot; None where the first stage does. Raises StorageError."""
    if choice.backend == SLOTS:
        return None
    if choice.backend == TRYBOOT:
        places = TrybootPlaces(choice.autoboot, {Slot.A: choice.partition_a, Slot.B: choice.partition_b})
        return Tryboot(stack.enter_context(open_autoboot(places.autoboot)), places)
    return Uboot(ToolEnvironment(choice.fw_env_config))


def open_boot_control(opened: OpenPlaces, loader: Loader | None, running: Slot | None) -> SlotsControl:
    """The boot control of a device, or of a tool beside it (``running`` None)."""
    if loader is None:
        return SlotsControl(opened.store, opened.areas, running)
    return LoaderSlots(opened.store, opened.areas, running, loader)


def restart_machine(loader: Loader) -> None:
    """Ask the service manager for it; it takes this process down with everything else. Raises BootRefusedError."""
    command = ("systemctl", "reboot", *loader.restart_arguments())
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=RESTART_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BootRefusedError(f"the machine cannot be restarted: {error}") from None
    if done.returncode:
        raise BootRefusedError(f"the machine cannot be restarted: {done.stderr.strip()}; {REMEDY}")
