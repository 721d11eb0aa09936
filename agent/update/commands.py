"""What the update machine asks for (commands), stands on (ports), and is told once (who runs, which rules)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.image.ota_form import Form
from agent.image.verdict import Requirements
from agent.image.version import Version
from agent.update.journal import Record
from agent.update.staging import SlotSink, SupplierCheck
from agent.update.trial import TrialLimits

# --- commands to the owner --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BeginDownload:
    """Ask for blocks from this offset of the OTA file on."""

    offset_octets: int
    total_octets: int
    file_version: int


@dataclass(frozen=True, slots=True)
class Decline:
    """Do not fetch what was offered."""

    reason: str


@dataclass(frozen=True, slots=True)
class EndUpgrade:
    """Send Upgrade End Request with this ZCL status for this file."""

    wire_status: int
    file_version: int


@dataclass(frozen=True, slots=True)
class CancelTransfer:
    """Drop the transfer or the pending image on the air too."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop, and let the first stage start what the boot state says."""

    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the log: an event name, an event code of GBCS (0 where there is none) and facts."""

    event: str
    code: int
    facts: dict[str, object]


Command = BeginDownload | Decline | EndUpgrade | CancelTransfer | Restart | Note


# --- ports ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """What the boot state says of a slot."""

    bad: bool
    confirmed: bool
    reason: str  # why it is bad, in words
    not_judged: bool = False  # for power or a medium: the image is not to blame
    unhealthy: bool = False  # its own program said so; the journal may know more


class Slots(Protocol):
    """Slots and boot control of the board: ``agent.boot``. Everything raises StorageError."""

    def begin(self, slot: str) -> SlotSink:
        """Mark the slot unusable and start writing it."""

    def resume(self, slot: str, image_octets: int) -> tuple[SlotSink, bytes]:
        """Go on writing after ``image_octets`` durable ones; also the first octets of what is there."""

    def facts(self, slot: str) -> SlotFacts:
        """Boot state of a slot."""

    def holds(self, slot: str, image_hash: bytes) -> bool:
        """Whether the slot's content is the image with this SHA-256."""

    def activate(self, slot: str) -> None:
        """Arm the trial of a written slot."""

    def report_running(self) -> None:
        """This program has come up: a trial that ends from now on was started."""

    def confirm(self) -> None:
        """The running slot is good: mark it, commit it, raise the security counter."""

    def give_up(self) -> None:
        """The running trial is unhealthy: the next start is the old slot's."""

    def cancel(self, slot: str) -> None:
        """Forget an image that waits for its activation."""


class Reporter(Protocol):
    """Builds and posts what goes upstream; called inside the transaction that changes the state."""

    def activated(self, *, success: bool, record: Record, version: Version, utc: int) -> None:
        """The activation of ``record`` ended; ``version`` runs."""

    def received(self, *, verified: bool, image_hash: bytes, update_id: str, utc: int) -> None:
        """A whole image was received and judged."""


@dataclass(frozen=True, slots=True)
class Running:
    """The code that runs: its version as it tells it, its slot and image as the first stage verified them.

    ``slot`` "": the factory agent, which runs from the base system because no slot verifies.
    """

    version: Version
    slot: str
    image_hash: bytes
    trial: bool

    @property
    def is_factory(self) -> bool:
        """No image runs."""
        return not self.slot


# Our choice: 0.0.0, below every image, so that a hub offers the device any one that is made for it, and a head end that
# reads the version sees that there is none. The base's own version is of no use to either.
FACTORY = Running(Version(0, 0, 0), slot="", image_hash=b"", trial=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The role's rules and the limits of a trial."""

    form: Form
    requirements: Requirements
    checkpoint_octets: int
    by_command_only: bool  # an HCALCS: only a signed CS06 activates
    trial: TrialLimits
    supplier_check: SupplierCheck | None = None
