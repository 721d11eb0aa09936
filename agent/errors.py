"""The errors that the agent raises on purpose.

::

    HanError                 a message for a person: what is wrong, with which thing, and the remedy
    ├── SettingsError        a configuration file or an option
    ├── FormatError          octets from outside that are not what they should be
    ├── StorageError         a slot, the boot state, the journal, a key file
    │   ├── StorageRefusedError    asking again is of no use
    │   └── StorageFullError       asking again is of use once somebody made room
    └── RadioError           the radio is not there, went away or answers garbage

The command line prints ``str(error)`` and exits with ``exit_code``; a traceback is always a defect of ours.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_REFUSED = 1  # the job was done and the answer is no
EXIT_USAGE = 2  # an option, a file name or a configuration
EXIT_RADIO = 3
EXIT_STORAGE = 4
EXIT_RESTART = 75  # the running image asks to be started anew by the first stage


class HanError(Exception):
    """Root of every error whose text is meant for the person at the screen."""

    exit_code = EXIT_REFUSED


class SettingsError(HanError):
    """A configuration key, an option or a file that they name is wrong."""

    exit_code = EXIT_USAGE


class FormatError(HanError):
    """Octets that do not parse. The only exception that a parser raises.

    ``offset_octets`` counts from the first octet given to the parser.
    """

    def __init__(self, what: str, offset_octets: int, reason: str) -> None:
        super().__init__(f"{what}: at octet {offset_octets}: {reason}")
        self.what = what
        self.offset_octets = offset_octets
        self.reason = reason


class StorageError(HanError):
    """A slot, the boot state, the journal or a key file cannot be read or written."""

    exit_code = EXIT_STORAGE


class StorageRefusedError(StorageError):
    """A slot that does not do what was asked, however often: too short, not free, or it gives back other octets."""


class StorageFullError(StorageError):
    """No room just now. The medium is sound, and what it was told to keep it keeps."""


class RadioError(HanError):
    """The radio is not there, went away, or does not speak MT."""

    exit_code = EXIT_RADIO
