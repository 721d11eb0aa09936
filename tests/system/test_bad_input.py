"""A radio that is not there, talks nonsense or goes away, a wrong configuration, a disk that is full."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import EXIT_RADIO, EXIT_USAGE
from tests.system.lab import Lab, Running

pytestmark = pytest.mark.timeout(300)


def progress(hub: Running) -> int:
    """The octets that the device has asked for, as the hub saw it last."""
    seen = hub.said("transfer-progress")
    return int(str(seen[-1]["offset"])) if seen else 0


@contextmanager
def noise() -> Iterator[str]:
    """The address of a TCP server that says random octets to whoever comes."""
    server = socket.create_server(("127.0.0.1", 0))
    octets = random.Random(3).randbytes(4096)

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
                with client:
                    while client.recv(4096):
                        client.sendall(octets)
            except OSError:
                if server.fileno() == -1:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10.0)


def configured(lab: Lab, device_radio: str, hub_radio: str) -> None:
    lab.prepare()
    lab.addresses = [hub_radio, device_radio]
    lab.configure()


def test_a_radio_that_is_not_there_is_named_with_the_remedy(lab: Lab) -> None:
    configured(lab, "/dev/serial/by-id/none", "socket://127.0.0.1:1")
    device = lab.start_device()
    stopped = device.wait_for("no radio")
    assert "/dev/serial/by-id/none: no such device; plug the radio in" in str(stopped["reason"])
    device.wait_for("no radio", 2)  # it looks again: a stick may be plugged in late
    hub = lab.start("hub", "hub", "--config", str(lab.hub_toml), "--json")
    assert hub.wait_for_end() == EXIT_RADIO
    assert any("socket://127.0.0.1:1: nobody listens there" in line for line in hub.lines)


def test_a_radio_that_talks_nonsense_is_named_with_the_remedy(lab: Lab) -> None:
    with noise() as address:
        configured(lab, address, address)
        device = lab.start_device()
        hub = lab.start("hub", "hub", "--config", str(lab.hub_toml), "--json")
        assert f"{address}: no answer to SYS.Ping" in str(device.wait_for("no radio")["reason"])
        assert hub.wait_for_end() == EXIT_RADIO
        assert any(f"{address}: no answer to SYS.Ping" in line for line in hub.lines)
        device.stop()


def test_the_air_vanishes_in_mid_transfer_and_the_transfer_goes_on_when_it_is_back(lab: Lab) -> None:
    """Both radios at once, by kill -9: their NV memory is all that is left, as after a loss of power."""
    lab.prepare()
    air = lab.start_air()
    lab.configure()
    hub = lab.start_hub()
    device = lab.start_device()
    hub.wait_for("tunnel-opened")
    lab.update(lab.device.images.new)
    device.until(lambda: progress(hub) > 40_000, "a third of the transfer")
    air.stop(signal.SIGKILL)
    addresses = [address.replace("socket://", "tcp://") for address in lab.addresses]
    lab.start_air(addresses=addresses)
    final = hub.wait_for("report", limit_s=200.0, cra="alert", message_code="0x012B")
    assert (final["verified"], final["version"], final["result"]) == (True, "1.1.0", "success")
    assert len(device.said("download starts")) == 1
    starts = [(event["version"], event["slot"]) for event in device.said("running")]
    assert starts == [("1.0.0", "A"), ("1.1.0", "B")], "neither program ended"


WRONG = [
    (r"^role = .*$", 'rolle = "ppmid"', "unknown key `rolle`; did you mean role?"),
    (r"^role = .*$", 'role = "ihd"', "taken out of the scope of SECMP0007"),
    (r"^eui = .*$", "eui = 12", "Expected `str`, got `int`"),
    (r"^channels = .*$", 'channels = ["20"]', "Expected `int`, got `str`"),
    (r"^hardware_version = .*$", "", "missing key `hardware_version`"),
    (r"^\[image\]$", "[image", "device.toml"),
    (r"^install_code = .*$", 'install_code = "12"', "not 8, 10, 14 or 18 octets of hex"),
    (r"^minimum_uptime_s = .*$", 'minimum_uptime_s = "soon"', "Expected `float`, got `str`"),
]


def test_a_wrong_device_toml_is_refused_at_once_with_the_key(lab: Lab) -> None:
    configured(lab, "socket://127.0.0.1:1", "socket://127.0.0.1:1")
    right = lab.device.config.read_text()
    for pattern, replacement, words in WRONG:
        lab.device.config.write_text(right)
        lab.change_config(lab.device.config, (pattern, replacement))
        device = lab.start_device()
        assert device.wait_for_end() == EXIT_USAGE, device.lines
        assert len(device.lines) == 1
        assert words in device.lines[0]
        assert str(lab.device.config) in device.lines[0]
    lab.device.config.unlink()
    device = lab.start_device()
    assert device.wait_for_end() == EXIT_USAGE
    assert str(lab.device.config) in device.lines[0]


WRONG_HUB = [
    (r"^channel = .*$", "chanel = 20", "did you mean channel?"),
    (r"^channel = .*$", "channel = 9", "radio.channel: 9 is not a 2.4 GHz channel"),
    (r"^install_code = .*$", 'install_code = "00000000000000000000"', "install_code: its CRC is 0000"),
    (r"^keys = .*$", 'keys = "nowhere"', "nowhere"),
    (r"^role = .*$", 'role = "ihd"', "taken out of the scope of SECMP0007"),
]


def test_a_wrong_hub_toml_is_refused_at_once_with_the_key(lab: Lab) -> None:
    configured(lab, "socket://127.0.0.1:1", "socket://127.0.0.1:1")
    right = lab.hub_toml.read_text()
    for pattern, replacement, words in WRONG_HUB:
        lab.hub_toml.write_text(right)
        lab.change_config(lab.hub_toml, (pattern, replacement))
        hub = lab.start("hub", "hub", "--config", str(lab.hub_toml))
        assert hub.wait_for_end() != 0
        assert len(hub.lines) == 1, hub.lines
        assert words in hub.lines[0]


@contextmanager
def small_disk(folder: Path, octets: int) -> Iterator[Path]:
    """A file system of this size, mounted at ``folder``."""
    if os.geteuid() != 0:
        pytest.skip("a small file system cannot be mounted without root")
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={octets}", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_stops_the_transfer_and_nothing_else(lab: Lab) -> None:
    """Slot B lies on a file system of its own that somebody fills up in mid-transfer. The hub hears of it at each
    attempt; with room again the transfer goes on at its checkpoint."""
    lab.prepare()
    lab.start_air()
    with small_disk(lab.folder / "small", 2 << 20) as disk:
        lab.configure()
        slot = lab.device.config.parent / "slot-b.bin"
        moved = disk / "slot-b.bin"
        sparse_copy(slot, moved)
        slot.unlink()
        slot.symlink_to(moved)
        hub = lab.start_hub()
        device = lab.start_device()
        hub.wait_for("tunnel-opened")
        fill = disk / "fill"
        lab.update(lab.device.images.new)
        device.until(lambda: progress(hub) > 20_000, "the beginning of the transfer")
        fill_up(fill)
        waits = device.wait_for("download waits")
        assert f"{slot}: cannot write at octet" in str(waits["reason"])
        assert "No space left on device; the file system is full: free space on it" in str(waits["reason"])
        assert int(str(waits["offset_octets"])) > 4096
        hub.wait_for("transfer-ended", status="0x95")
        lab.update(lab.device.images.new)
        assert device.wait_for("download waits", 2)["offset_octets"] == waits["offset_octets"]
        hub.wait_for("transfer-ended", 2, status="0x95")
        fill.unlink()
        lab.update(lab.device.images.new)
        resumed = device.wait_for("download resumes", 2)
        assert resumed["offset_octets"] == waits["offset_octets"], "nothing that was stored is asked for again"
        final = hub.wait_for("report", cra="alert", message_code="0x012B")
        assert (final["verified"], final["version"]) == (True, "1.1.0")
        starts = [(event["version"], event["slot"]) for event in device.said("running")]
        assert starts == [("1.0.0", "A"), ("1.1.0", "B")], "neither program ended"
        assert len(device.said("download starts")) == 1
        device.stop()


def sparse_copy(source: Path, target: Path) -> None:
    """The same size, with holes where the source has zeros."""
    with target.open("wb") as file:
        file.truncate(source.stat().st_size)


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return
