"""An independent server: zigpy's own gateway and OTA manager, unmodified, pair with our device and update it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as zt
import zigpy.util
from boot_factory import make_base
from zigpy.zcl import foundation
from zigpy_znp.zigbee.application import ControllerApplication

from agent.image.ota_form import Form
from agent.image.version import Version
from boards.bench.demo.prepare import DEVICE_EUIS, IMAGE_TYPES, MANUFACTURER_CODE, MARKER
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.znp.link import quieten_zigpy
from tests.system.lab import Lab, Running
from tests.system.sources import copy_without_words

GATEWAY_EUI, DEVICE_EUI = 0x00124B00000000AA, DEVICE_EUIS["ppmid"]
NEW = Version(1, 1, 0)
LIMIT_S = 400.0  # zigpy itself waits 10 s after an update; a loaded machine takes its time for the blocks


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="han-"))
    (folder / MARKER).touch()
    copy_without_words(tmp_path / "source")
    lab = Lab(folder, make_base(tmp_path / "base"), tmp_path / "source")
    try:
        yield lab
    finally:
        lab.close()
        logs = lab.logs()
        shutil.rmtree(folder)
    assert "Traceback" not in logs, logs[-8000:]


def board() -> VirtualBoard:
    chips = (ChipSettings("tcp://127.0.0.1:0", GATEWAY_EUI), ChipSettings("tcp://127.0.0.1:0", DEVICE_EUI))
    return VirtualBoard(BoardSettings(chips=chips, speed=500.0, seed=3))


def write_index(lab: Lab, image: Path) -> Path:
    """The index of zigpy's local provider, as a gateway's owner writes it."""
    octets = image.read_bytes()
    entry = {
        "path": image.name,
        "file_version": NEW.file_version,
        "file_size": len(octets),
        "image_type": IMAGE_TYPES["ppmid"],
        "manufacturer_id": MANUFACTURER_CODE,
        "checksum": f"sha3-256:{hashlib.sha3_256(octets).hexdigest()}",
    }
    index = image.parent / "index.json"
    index.write_text(json.dumps({"firmwares": [entry]}))
    return index


@contextlib.asynccontextmanager
async def gateway(path: str, index: Path) -> AsyncIterator[Any]:
    """Configured as zigpy's documentation says, with nothing of ours in it."""
    application = ControllerApplication(
        {
            "device": {"path": path},
            "database_path": None,
            "backup_enabled": False,
            "topology_scan_enabled": False,
            "network": {"channel": 20},
            "ota": {
                "enabled": True,
                "broadcast_enabled": False,
                "disable_default_providers": [],
                "providers": [{"type": "zigpy_local", "index_file": str(index)}],
            },
        }
    )
    try:
        await application.startup(auto_form=True)
        yield application
    finally:
        await application.shutdown()


def configure(lab: Lab, address: str) -> None:
    """The device as for GB, then the three settings that a generic gateway needs."""
    lab.addresses = ["unused", address]
    lab.configure((r'^form = ".*"$', 'form = "generic"'), (r"^\[radio\]$", "[radio]\nprofile = 0x0104"))


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.05)


def eui(number: int) -> Any:
    return zt.EUI64(number.to_bytes(8, "little"))


async def paired(application: Any, virtual: VirtualBoard, lab: Lab) -> tuple[Any, Running]:
    """The gateway lets the device in with its install code; zigpy interviews it."""
    code = (lab.prepared.keys / "install-codes" / f"{DEVICE_EUI:016x}.txt").read_text().strip()
    key = zigpy.util.convert_install_code(bytes.fromhex(code))
    permit = asyncio.ensure_future(application.permit_with_link_key(eui(DEVICE_EUI), key, 250))
    await until(lambda: virtual.chips[0].joining_is_open)
    running = await asyncio.to_thread(lab.start_device)
    await until(lambda: eui(DEVICE_EUI) in application.devices)
    device = application.get_device(ieee=eui(DEVICE_EUI))
    await until(lambda: device.is_initialized)
    permit.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await permit
    return device, running


@pytest.mark.timeout(450)
def test_zigpy_pairs_with_the_device_and_updates_it(lab: Lab) -> None:
    lab.prepare()
    index = write_index(lab, lab.make_image(NEW, form=Form.GENERIC))

    async def work() -> None:
        async with board() as virtual, gateway(virtual.addresses[0], index) as application:
            configure(lab, virtual.addresses[1])
            device, running = await paired(application, virtual, lab)
            cluster = device.endpoints[1].out_clusters[0x0019]
            await until(lambda: cluster.last_query_cmd is not None)
            found = await application.ota.get_ota_images(device, cluster.last_query_cmd)
            (image,) = found.upgrades
            steps: list[int] = []
            status = await device.update_firmware(image, lambda done, *_rest: steps.append(done))
            assert status == foundation.Status.SUCCESS
            assert steps == sorted(steps)
            await asyncio.to_thread(running.wait_for, "update confirmed")
            assert device.endpoints[1].profile_id == 0x0104
            starts = [(event["version"], event["slot"]) for event in running.said("running")]
            assert starts == [("1.0.0", "A"), ("1.1.0", "B")]
            # zigpy has interviewed it again, so its objects are others
            cluster = application.get_device(ieee=eui(DEVICE_EUI)).endpoints[1].out_clusters[0x0019]
            (values, failures) = await cluster.read_attributes(["current_file_version"])
            assert (values, failures) == ({"current_file_version": NEW.file_version}, {})

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await work()

    quieten_zigpy()
    asyncio.run(bounded())
