"""What the device remembers of a version whose trial failed here, and when it may be fetched again. Our choice.

Without a memory the device would fetch and try it for ever, as long as the hub offers nothing else. A version that was
judged (unhealthy, crashed, hung, reset by its watchdog, not verifying) is refused until another one is fetched or the
engineer clears the memory. One whose every try was lost to power or to a failing medium was never judged: it may be
fetched again, after a pause, ``UNJUDGED_ATTEMPTS`` times in all.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.image.version import Version

UNJUDGED_ATTEMPTS = 2
UNJUDGED_PAUSE_S = 6 * 3600  # a supply that failed three times in a row is not sound a minute later


@dataclass(frozen=True, slots=True)
class FailedVersion:
    """``unjudged_attempts``: activations of it, one after the other, that ended without a judgement; 0 after one that
    was judged. ``utc``: when the last of them was reported."""

    file_version: int
    reason: str
    unjudged_attempts: int
    utc: int

    @classmethod
    def after(
        cls, before: FailedVersion | None, file_version: int, reason: str, utc: int, *, not_judged: bool
    ) -> FailedVersion:
        """The memory after one more failed activation."""
        attempts = before.unjudged_attempts if before and before.file_version == file_version else 0
        return cls(file_version, reason, attempts + 1 if not_judged else 0, utc)

    @property
    def again_utc(self) -> int | None:
        """From when on it may be fetched again; None: not by itself."""
        return self.utc + UNJUDGED_PAUSE_S if 0 < self.unjudged_attempts < UNJUDGED_ATTEMPTS else None

    @property
    def _why(self) -> str:
        """The reason's name as words; what the program itself noted behind it stays as it is."""
        name, colon, detail = self.reason.partition(":")
        return name.replace("_", " ") + colon + detail

    def refusal(self, utc: int | None) -> str:
        """Why it is not fetched now; empty when it may be. ``utc`` None: nobody knows the time, so no pause is over."""
        version = Version.from_file_version(self.file_version)
        again_utc = self.again_utc
        if again_utc is None:
            return (
                f"version {version} failed its trial on this device ({self._why}); offer another "
                "version, or clear this with han-agent update retry"
            )
        # A clock that was set back must not make the pause longer than it is.
        if utc is None or self.utc <= utc < again_utc:
            return f"version {version} could not be tried here ({self._why}); again {UNJUDGED_PAUSE_S // 3600} h later"
        return ""
