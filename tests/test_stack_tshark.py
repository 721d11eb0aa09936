"""tshark as the judge of our frames, of CCM* and of the capture file: it must decrypt and dissect everything."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from stack_world import DEVICE_EUI, HUB_EUI, LINK_KEY, World, request

from agent.errors import StorageError
from boards.virtual.air.capture import Capture, key_option
from boards.virtual.air.medium import AirSettings
from boards.virtual.stack.interface import DataRequest

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

DATA_KEY = bytes(range(0x10, 0x20))
TRANSFER_OCTETS = 1500


def ota_block_request(offset: int) -> bytes:
    """ZCL: cluster command, client to server, sequence 7, Image Block Request; 50 octets of a PPMID's image wanted."""
    return bytes((0x01, 7, 0x03)) + struct.pack("<BHHIIB", 0, 0x105E, 0x0042, 0x01020003, offset, 50)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A join, a block request without and with link-key security, and a fragmented message, on an air with loss."""
    path = tmp_path_factory.mktemp("air") / "air.pcapng"
    world = World(AirSettings(loss=0.05), seed=4, capture=path)
    device = world.pair()
    assert world.send(device, 1, request(0, ota_block_request(0x2710))) == 0
    world.hub.stack.set_link_key(DEVICE_EUI, device.short, DATA_KEY)
    device.stack.set_link_key(HUB_EUI, 0, DATA_KEY)
    assert world.send(device, 2, request(0, ota_block_request(0x2742), aps_security=True)) == 0
    response = b"\x09\x08\x05\x00" + struct.pack("<HHIIB", 0x105E, 0x0042, 0x01020003, 0x2742, 200) + bytes(200)
    assert world.send(world.hub, 3, request(device.short, response, aps_security=True)) == 0
    tunnelled = b"\x01\x09\x02" + struct.pack("<H", 1) + bytes(TRANSFER_OCTETS - 5)
    assert world.send(world.hub, 4, DataRequest(device.short, 1, 1, 0x0704, 0x0109, tunnelled, aps_ack=True)) == 0
    assert world.capture is not None
    world.capture.close()
    return path


def tshark(path: Path, *arguments: str, keys: bool = True) -> list[list[str]]:
    """Rows of the fields asked for with ``-e``."""
    key_arguments = key_option({"install code": LINK_KEY, "data": DATA_KEY}) if keys else []
    command = ["tshark", "-r", str(path), *key_arguments, "-T", "fields", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_every_frame_has_a_right_fcs_and_is_well_formed(capture: Path) -> None:
    rows = tshark(capture, "-e", "wpan.fcs_ok", "-e", "_ws.malformed", "-e", "wpan-tap.ch_num")
    assert len(rows) > 100
    assert {tuple(row) for row in rows} == {("1", "", "20")}


def test_everything_secured_is_decrypted(capture: Path) -> None:
    """With the one link key of the install code: the network key comes out of the Transport-Key, the rest under it."""
    secured = tshark(capture, "-Y", "zbee.sec.counter", "-e", "zbee.sec.key_id")
    failed = tshark(capture, "-Y", "zbee_sec.encrypted_payload", "-e", "frame.number")
    assert len(secured) > 40
    assert failed == []
    undecrypted = tshark(capture, "-Y", "zbee_sec.encrypted_payload", "-e", "frame.number", keys=False)
    assert len(undecrypted) > 40  # so the filter does tell


def test_the_transport_key_is_shown(capture: Path) -> None:
    rows = tshark(capture, "-Y", "zbee_aps.cmd.id == 0x05", "-e", "zbee_aps.cmd.key", "-e", "zbee_aps.cmd.dst")
    assert rows
    assert rows[0][1] == ":".join(f"{DEVICE_EUI:016x}"[i : i + 2] for i in range(0, 16, 2))
    assert len(rows[0][0].replace(":", "")) == 32


def test_the_block_requests_are_dissected_under_both_kinds_of_security(capture: Path) -> None:
    fields = ["zbee_zcl_general.ota.manufacturer_code", "zbee_zcl_general.ota.file.offset"]
    wanted = [word for field in fields for word in ("-e", field)]
    rows = tshark(capture, "-Y", "zbee_zcl_general.ota.cmd.srv_rx.id == 0x03", *wanted)
    seen = {(int(manufacturer, 0), int(offset, 0)) for manufacturer, offset in rows}
    assert seen == {(0x105E, 0x2710), (0x105E, 0x2742)}


def test_fragments_are_put_together(capture: Path) -> None:
    rows = tshark(capture, "-Y", "zbee_aps.reassembled.length", "-e", "zbee_aps.reassembled.length")
    lengths = {int(row[0].split(",")[0]) for row in rows}
    assert TRANSFER_OCTETS in lengths
    assert 4 + 13 + 200 in lengths


def test_lost_frames_carry_a_comment(capture: Path) -> None:
    rows = tshark(capture, "-Y", "frame.comment", "-e", "frame.comment")
    assert "lost on the air" in {row[0] for row in rows}


def test_time_stamps_are_on_air_time(capture: Path) -> None:
    times = [float(row[0]) for row in tshark(capture, "-e", "frame.time_epoch")]
    assert times == sorted(times)
    assert 1_700_000_000 <= times[0] < 1_700_000_001


def test_a_capture_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        Capture(tmp_path / "missing" / "air.pcapng", 0.0)


def test_a_full_disk_is_an_error_that_names_the_file() -> None:
    with pytest.raises(StorageError, match="/dev/full"):
        Capture(Path("/dev/full"), 0.0)
