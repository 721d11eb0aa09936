"""Who is on the hub's network: permits by install code at the start, addresses learnt from what devices say."""

from __future__ import annotations

from dataclasses import dataclass, field

from boards.bench.desk import Peer
from boards.bench.settings import DeviceSettings, install_code, parse_eui


@dataclass(slots=True)
class Member:
    """A device. ``short`` and ``endpoint`` are None until learnt; ``listed`` False: nobody named it in hub.toml."""

    eui: int
    role: str = ""
    install_code: bytes = field(default=b"", repr=False)
    tunnel: bool = True
    authorised: bool = True
    listed: bool = True
    kept_out: bool = False  # the operator's: not let in again when it has left
    short: int | None = None
    endpoint: int | None = None
    sleeps: bool = False  # it said that its receiver is off when idle: what is for it waits for its polls
    waits_for_key: bool = False  # the Trust Center's: nothing secured would reach it yet

    @property
    def peer(self) -> Peer | None:
        """Its application endpoint, once it is known and can be spoken to."""
        if self.short is None or self.endpoint is None or self.waits_for_key:
            return None
        return Peer(self.short, self.endpoint)


def member_from_settings(device: DeviceSettings) -> Member:
    """Raises SettingsError for a malformed EUI or install code."""
    where = f"device {device.eui}"
    code = install_code(device.install_code, where) if device.install_code else b""
    return Member(parse_eui(device.eui, where), device.role, code, device.tunnel, device.authorised)


@dataclass(slots=True)
class Members:
    """By EUI and by short address; a short address belongs to whoever claimed it last."""

    by_eui: dict[int, Member] = field(default_factory=dict)
    by_short: dict[int, Member] = field(default_factory=dict)

    def add(self, member: Member) -> None:
        """A device that may join."""
        self.by_eui[member.eui] = member

    def learn(self, eui: int, short: int) -> Member:
        """This EUI has this short address now. A device that no one listed is kept as such, and gets no image."""
        member = self.by_eui.setdefault(eui, Member(eui, listed=False, tunnel=False, authorised=False))
        if member.short is not None and self.by_short.get(member.short) is member:
            del self.by_short[member.short]
        previous = self.by_short.get(short)
        if previous is not None:
            previous.short = previous.endpoint = None
        member.short = short
        self.by_short[short] = member
        return member

    def forget_address(self, member: Member) -> None:
        """It has left the network."""
        if member.short is not None and self.by_short.get(member.short) is member:
            del self.by_short[member.short]
        member.short = member.endpoint = None

    def missing(self) -> list[Member]:
        """Listed devices whose address is not known yet."""
        return [member for member in self.by_eui.values() if member.listed and member.short is None]
