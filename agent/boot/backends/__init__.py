"""The backends of `agent.boot.control.BootControl`: ``slots`` (the default), ``tryboot`` and ``uboot``.

The last two are tested with fakes of the files and tools that they touch, and are untested on metal.
"""

from __future__ import annotations

from contextlib import ExitStack

from agent.boot.area import FileArea
from agent.boot.backends.loader import LoaderControl
from agent.boot.backends.tryboot import Tryboot, TrybootPlaces, open_autoboot
from agent.boot.backends.uboot import ToolEnvironment, Uboot, UbootPlaces
from agent.boot.control import BootControl, SlotsControl
from agent.boot.places import Places, open_places
from agent.boot.state import Slot
from agent.boot.store import BootStateStore
from agent.errors import SettingsError

KINDS = ("slots", "tryboot", "uboot")


def open_boot_control(
    kind: str,
    places: Places,
    stack: ExitStack,
    *,
    running: Slot | None = None,
    tryboot: TrybootPlaces | None = None,
    uboot: UbootPlaces | None = None,
) -> BootControl:
    """A backend, open; ``stack`` closes it. Raises SettingsError for an unknown kind, StorageError.

    ``running`` is for ``slots`` only, whose first stage says it; a `LoaderControl` asks the boot loader, and wants its
    ``reconcile`` called first. Its journal is ``places.boot_state``.
    """
    if kind == "slots":
        opened = open_places(places, stack)
        return SlotsControl(opened.store, opened.areas, running)
    if kind not in KINDS:
        raise SettingsError(f"boot control {kind!r} is not one of {', '.join(KINDS)}")
    area = stack.enter_context(FileArea.open(places.boot_state))
    journal = BootStateStore(area, area.exclusive)
    if kind == "tryboot":
        tryboot = tryboot or TrybootPlaces()
        return LoaderControl(journal, Tryboot(stack.enter_context(open_autoboot(tryboot.autoboot)), tryboot))
    uboot = uboot or UbootPlaces()
    return LoaderControl(journal, Uboot(ToolEnvironment(uboot.config), uboot.cmdline))
