"""One chip of the in-process world and the node on it: what it knows, and what of that it keeps in NV.

NV holds the network, the link keys with a reserve of their APS frame counters, and a reserve of the NWK frame counter;
the rest goes with the power, the counters of incoming frames since NV was last written among it, as on a real chip. The
network is in NV before a join is answered (``boards.znp.network`` waits for the NIB there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.events import ApsRequest, LogicalType, NetworkInfo, SetPollRate
from agent.ports import Node
from boards.virtual.chip_memory import ChipMemory
from boards.virtual.stack.key_store import KeyStore, ReservedCounter

Z_STACK_RATE = SetPollRate(1.0, 0.1)  # of a sleepy chip that was told none
COUNTER_STEP = 100  # fewer than the emulated chip reserves: a walk of some hundred frames comes by several


@dataclass(frozen=True, slots=True)
class Secured:
    """How one frame is secured: its NWK frame counter, and key and counter of its APS layer where that is secured."""

    nwk_counter: int
    aps_counter: int = 0
    link_key: bytes | None = None


class Seat:
    """``node`` is None while the host is off; the chip may stay on without it (``World.detach``) or lose its power too.

    ``lag_s``: how long after the answer to SetLinkKey the key is in NV; 0: before the answer. TI promises neither.
    """

    def __init__(self, eui: int, memory: ChipMemory | None = None, lag_s: float = 0.0) -> None:
        self.eui = eui
        self.memory = memory or ChipMemory()
        self.lag_s = lag_s
        self.node: Node | None = None
        self.generation = 0  # results and frames of a host that is gone are dropped
        self.life = 0  # what a chip had begun when its power went is not done
        self.install_codes: dict[int, bytes] = {}
        self.traffic: list[ApsRequest] = []
        self.poll_rates: list[tuple[float, SetPollRate]] = []  # with the time when each was set
        self.opened = 0  # frames taken under a link key
        self._wake()

    def _wake(self) -> None:
        """The chip starts from its NV."""
        self.permit_until = 0.0
        self.poll_rate = Z_STACK_RATE
        self.answer_poll = 0.0  # when it polls because something went out or came in
        self.mailbox: list[Callable[[], None]] = []  # what waits for the next poll
        self._lags = False
        self.keys = KeyStore(self._keys_changed, COUNTER_STEP)
        self.keys.load(self.memory.get("link keys") or ())
        self.nwk_counter = ReservedCounter(self.memory.get("NWK counter") or 0, self._keep_nwk_counter, COUNTER_STEP)
        self.heard: dict[int, int] = {}  # by the sender's EUI: the lowest NWK counter that is still acceptable

    def detach(self) -> None:
        """The host is gone."""
        self.generation += 1
        self.node = None

    def lose_power(self) -> None:
        """Host and chip."""
        self.detach()
        self.life += 1
        self._wake()

    # --- what the chip remembers

    @property
    def network(self) -> NetworkInfo | None:
        """Where the chip is; a change is in NV at once."""
        network: NetworkInfo | None = self.memory.get("network")
        return network

    @network.setter
    def network(self, network: NetworkInfo | None) -> None:
        self.memory.put("network", network)

    @property
    def sleeps(self) -> bool:
        """A sleepy end device?"""
        return self.network is not None and self.network.logical_type is LogicalType.END_DEVICE

    def forget(self) -> None:
        """Left, or about to join anew. The NWK counter stays: the network may be entered again."""
        self.network = None
        self.keys.clear()
        self.keep_keys()

    def keep_keys(self) -> None:
        """Link keys and the reserves of their counters go into NV."""
        self.memory.put("link keys", self.keys.export())

    def _keys_changed(self) -> None:
        if not self._lags:
            self.keep_keys()

    def _keep_nwk_counter(self) -> None:
        self.memory.put("NWK counter", self.nwk_counter.reserve)

    def set_link_key(self, partner: int, key: bytes) -> None:
        """The key that key establishment made; with a lag only in RAM until ``keep_keys`` or the first frame."""
        self._lags = self.lag_s > 0
        self.keys.set(partner, key, established=True)
        self._lags = False

    # --- frames

    def secure(self, partner: int | None) -> Secured:
        """Numbers for one frame; ``partner``: by whose link key, where it is known. Never given twice."""
        entry = None if partner is None else self.keys.get(partner)
        nwk_counter = self.nwk_counter.take()
        return Secured(nwk_counter) if entry is None else Secured(nwk_counter, entry.outgoing.take(), entry.key)

    def opens(self, sender: int, secured: Secured, *, aps_security: bool) -> bool:
        """Whether this chip takes the frame: nothing twice, and under APS security nothing under another key."""
        if secured.nwk_counter < self.heard.get(sender, 0):
            return False
        self.heard[sender] = secured.nwk_counter + 1
        if not aps_security:
            return True
        entry = self.keys.get(sender)
        if entry is None or entry.key != secured.link_key or secured.aps_counter < entry.incoming:
            return False
        entry.incoming = secured.aps_counter + 1
        self.opened += 1
        return True
