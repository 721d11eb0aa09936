"""Which synchronous MT commands the emulated chip knows: subsystem -> command -> handler.

A handler takes the chip and the request's fields and returns the data of the response. FormatError makes the chip
answer "bad length"; a command that is not here, "unknown command", as on the chip.
"""

from __future__ import annotations

from boards.virtual.ncp import af, app_commands, sys_commands, util_commands, zdo_commands
from boards.virtual.ncp.af import Handler
from boards.virtual.ncp.codec import Subsystem

SYNCHRONOUS: dict[int, dict[int, Handler]] = {
    Subsystem.SYS: sys_commands.COMMANDS,
    Subsystem.AF: af.COMMANDS,
    Subsystem.ZDO: zdo_commands.COMMANDS,
    Subsystem.UTIL: util_commands.COMMANDS,
    Subsystem.APP_CNF: app_commands.COMMANDS,
}
