"""The OTA client's rules that need no state: whom a notify means, how long to wait, when to upgrade."""

from __future__ import annotations

from random import Random

from agent.zigbee.ota_events import ActivateAt, ActivateNow, HoldForCommand, OtaIdentity
from agent.zigbee.ota_messages import (
    ANY_FILE_VERSION,
    ANY_IMAGE_TYPE,
    ANY_MANUFACTURER,
    UNKNOWN_TIME,
    ImageBlock,
    ImageFound,
    ImageNotify,
    UpgradeEndResponse,
    WaitForData,
)

MINIMUM_WAIT_S = 1.0  # our choice: a server that says WAIT_FOR_DATA without a wait shall not make a storm
MAXIMUM_JITTER = 100
STACK_VERSION = 0x0002  # ZigBee PRO, as in the OTA header


def why_notify_is_ignored(notify: ImageNotify, identity: OtaIdentity, broadcast: bool, random: Random) -> str | None:
    """None when the notify is to be answered by a query (ZCL 11.13.3.5). A unicast one always is."""
    if not broadcast:
        return None
    if notify.manufacturer not in (None, ANY_MANUFACTURER, identity.manufacturer):
        return f"notify for manufacturer 0x{notify.manufacturer:04X}"
    if notify.image_type not in (None, ANY_IMAGE_TYPE, identity.image_type):
        return f"notify for image type 0x{notify.image_type:04X}"
    if notify.file_version == identity.running_file_version:
        return "notify for the version that runs"
    draw = random.randint(1, MAXIMUM_JITTER)
    return None if draw <= notify.jitter else f"drew {draw}, above the jitter {notify.jitter}"


def is_of_image(block: ImageBlock | UpgradeEndResponse, image: ImageFound) -> bool:
    """True when the file id is the image's, or a wildcard. Our choice: version 0 counts as not echoed."""
    return (
        block.manufacturer in (image.manufacturer, ANY_MANUFACTURER)
        and block.image_type in (image.image_type, ANY_IMAGE_TYPE)
        and block.file_version in (image.file_version, ANY_FILE_VERSION, 0)
    )


def wait_seconds(wait: WaitForData, maximum_s: float) -> float:
    """How long a WAIT_FOR_DATA asks to wait (ZCL 11.13.8.2), within bounds that are our choice."""
    seconds = wait.request_time - wait.current_time
    return min(max(float(seconds), MINIMUM_WAIT_S), maximum_s)


def when_to_upgrade(
    response: UpgradeEndResponse, hub_utc: float | None, out_of_band: bool
) -> ActivateNow | ActivateAt | HoldForCommand:
    """The time rules of ZCL 11.13.9.6, on the server's own time where it gives one, else on the hub's clock.

    A time that nobody can measure never activates: the answer is to hold, and the client asks again. Where activation
    is out of band (attribute 0x000B) the server's time does not count at all.
    """
    current, upgrade = response.current_time, response.upgrade_time
    if out_of_band or upgrade == UNKNOWN_TIME:
        return HoldForCommand()
    if upgrade == 0:
        return ActivateNow()
    if current == UNKNOWN_TIME:
        if hub_utc is None:
            return HoldForCommand()
        current = int(hub_utc)
    if upgrade <= current:
        return ActivateNow()
    seconds = float(upgrade - current)  # current 0: the server has no clock, upgrade time is an offset
    if current:
        return ActivateAt(seconds, upgrade)
    return ActivateAt(seconds, None if hub_utc is None else int(hub_utc + seconds))
