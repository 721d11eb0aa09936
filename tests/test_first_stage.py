"""The first stage as a process of its own, on files, starting images that imgtool signed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boot_factory import image_hash, make_base, zipapp_image
from image_factory import make_key, requirements
from loader_lab import TrybootMachine

from agent.boot import backends, first_stage
from agent.boot.backends.tryboot import provision_autoboot
from agent.boot.control import SlotsControl
from agent.boot.first_stage import EXIT_NOTHING_RUNS
from agent.boot.places import Places, open_places
from agent.boot.provision import provision
from agent.boot.state import EndReason, Slot, SlotState
from agent.errors import EXIT_REFUSED, EXIT_RESTART, EXIT_STORAGE, EXIT_USAGE
from agent.image import mcuboot
from agent.image.ota_form import Form
from agent.image.version import Version

TELL = """
import json, os, sys
import agent.tell, structlog
told = {
    "version": agent.tell.VERSION, "file": agent.tell.__file__, "structlog": structlog.__file__, "path": sys.path[0],
    "argv": sys.argv[1:], "handover": json.loads(os.environ["HAN_HANDOVER"]), "isolated": sys.flags.isolated,
}
try:
    os.pwrite(os.open(sys.argv[0], os.O_RDWR), b"x", 0)
except OSError as error:
    told["write"] = error.strerror
try:
    import agent.boot
except ImportError as error:
    told["base"] = str(error)
print(json.dumps(told), flush=True)
"""
STORAGE = "[storage]\nslot_a = 'a.bin'\nslot_b = 'b.bin'\nboot_state = 'boot.bin'\nkeys = 'keys'\n"
EXIT_75 = "raise SystemExit(75)\n"
HANG = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"
OLD = zipapp_image(TELL, Version(1, 0, 0))
NEW = zipapp_image(TELL, Version(1, 1, 0), counter=2)


class Device:
    """A configuration, keys, slots and boot state in a folder."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.config = folder / "device.toml"
        self.config.write_text(
            '[storage]\nslot_a = "a.bin"\nslot_b = "b.bin"\nboot_state = "boot.bin"\nkeys = "keys"\n'
            'database = "state.db"\n[health]\ntries = 2\n',
            encoding="utf-8",
        )
        (folder / "keys" / "trust").mkdir(parents=True)
        (folder / "keys" / "trust" / "manufacturer.pem").write_text(
            make_key().public_key().export_key(format="PEM"), encoding="ascii"
        )
        self.folder = folder
        self.command = [str(python), "-I", "-m", "agent.boot.first_stage", "--config", str(self.config)]
        self.places = Places.load(self.config)

    def provision(self, image: bytes = OLD) -> None:
        wanted = requirements(minimum_security_counter=0, base_abi=None, running_version=None)
        provision(self.places, image, Form.GB_PPMID, wanted, again=False)

    def stage(self, image: bytes, *, activate: bool = True) -> None:
        with self.control(Slot.A) as control:
            writer = control.begin(Slot.B)
            writer.write(image)
            control.mark_written(Slot.B, writer.finish(), mcuboot.parse(image).security_counter or 0)
            if activate:
                control.activate(Slot.B, self.places.tries)

    @contextmanager
    def control(self, running: Slot | None) -> Iterator[SlotsControl]:
        with ExitStack() as stack:
            opened = open_places(self.places, stack)
            yield SlotsControl(opened.store, opened.areas, running)

    def start(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "RUNTIME_DIRECTORY": "", **environment},
        )

    def tell(self, *arguments: str) -> dict[str, Any]:
        done = self.start(*arguments)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def flip(self, name: str, offset: int) -> None:
        path = self.folder / name
        with path.open("r+b") as file:
            file.seek(offset)
            octet = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([octet ^ 1]))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def device(tmp_path: Path, base: Path) -> Device:
    made = Device(tmp_path, base)
    made.provision()
    return made


def test_it_becomes_the_verified_copy(device: Device) -> None:
    told = device.tell("--", "--one", "two")
    assert told["version"] == "1.0.0"
    assert told["argv"] == ["--config", str(device.config), "--one", "two"]
    assert told["handover"]["image_hash"] == image_hash(OLD).hex()
    assert told["isolated"] == 1


def test_modules_come_from_the_copy_and_dependencies_from_the_base(device: Device) -> None:
    told = device.tell()
    assert told["path"].startswith("/proc/self/fd/")
    assert told["file"] == f"{told['path']}/agent/tell.py"
    assert "No module named 'agent.boot'" in told["base"], "the base's agent is reachable from the image"
    assert "site-packages" in told["structlog"]


def test_the_copy_cannot_be_written(device: Device) -> None:
    assert device.tell()["write"] == "Operation not permitted"


def test_a_trial_runs_then_goes_back_when_its_tries_are_spent(device: Device) -> None:
    device.stage(NEW)
    for left in (1, 0):
        told = device.tell()
        assert (told["version"], told["handover"]["trial"], told["handover"]["tries_left"]) == ("1.1.0", True, left)
    told = device.tell()
    assert told["version"] == "1.0.0"
    assert told["handover"]["reverted"] == {
        "slot": "B",
        "reason": EndReason.NEVER_STARTED.name,
        "image_hash": image_hash(NEW).hex(),
    }


def test_a_confirmed_trial_stays(device: Device) -> None:
    device.stage(NEW)
    device.tell()
    with device.control(Slot.B) as control:
        control.confirm()
        assert control.status().security_counter == 2
    told = device.tell()
    assert (told["version"], told["handover"]["trial"], told["handover"]["reverted"]) == ("1.1.0", False, None)


def test_a_pending_image_does_not_run(device: Device) -> None:
    device.stage(NEW, activate=False)
    assert device.tell()["version"] == "1.0.0"


def test_a_flipped_bit_is_logged_and_the_other_slot_runs(device: Device) -> None:
    device.stage(NEW)
    device.flip("b.bin", 200)
    done = device.start()
    assert json.loads(done.stdout)["version"] == "1.0.0"
    failed = [json.loads(line) for line in done.stderr.splitlines() if "verification_failed" in line]
    assert [(line["code"], line["slot"]) for line in failed] == [("0x8F1B", "B")]
    assert json.loads(done.stdout)["handover"]["events"][0]["code"] == 0x8F1B


@pytest.mark.parametrize("offset", [0, 65536])
def test_a_torn_copy_of_the_boot_state_is_repaired(device: Device, offset: int) -> None:
    device.flip("boot.bin", offset + 100)
    assert device.tell()["handover"]["notes"] == ["boot state: one copy is torn"]
    assert device.tell()["handover"]["notes"] == []


def test_both_copies_lost_runs_only_the_marked_slot(device: Device) -> None:
    device.stage(NEW)
    for offset in (0, 65536):
        device.flip("boot.bin", offset + 100)
    assert device.tell()["version"] == "1.0.0"
    with device.control(Slot.A) as control:
        assert control.status().slots[Slot.B].state is SlotState.UNKNOWN


def starts_the_factory_agent(device: Device) -> str:
    """The base's own program, which asks for the rest of a configuration that these tests do not have."""
    done = device.start()
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    said, last = (json.loads(line) for line in done.stderr.splitlines()[-2:])
    assert (said["event"], last["event"]) == ("factory_agent", "stopped")
    assert "provision" in said["reason"]
    assert "missing key" in last["reason"]
    return done.stderr


def test_when_no_slot_verifies_it_becomes_the_factory_agent(device: Device) -> None:
    device.flip("a.bin", 200)
    assert "0x8F1B" in starts_the_factory_agent(device)


def test_a_program_that_the_kernel_does_not_start_is_told(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "execve", refuse)
    device.flip("a.bin", 200)
    assert first_stage.main(["--config", str(device.config)]) == EXIT_NOTHING_RUNS
    assert "Cannot allocate memory" in capsys.readouterr().err


def test_a_missing_slot_is_a_slot_that_does_not_verify(device: Device) -> None:
    (device.folder / "b.bin").unlink()
    assert device.tell()["version"] == "1.0.0"
    (device.folder / "a.bin").unlink()
    starts_the_factory_agent(device)


def test_an_unknown_key_does_not_run(device: Device) -> None:
    other = make_key("someone else").public_key().export_key(format="PEM")
    (device.folder / "keys" / "trust" / "manufacturer.pem").write_text(other, encoding="ascii")
    assert "trusted here" in starts_the_factory_agent(device)


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        ("device.toml", EXIT_USAGE, "no such configuration file"),
        ("boot.bin", EXIT_STORAGE, "provision the device first"),
        ("keys/trust/manufacturer.pem", EXIT_STORAGE, "no image could be trusted"),
    ],
)
def test_what_is_missing_is_named_without_a_traceback(device: Device, spoil: str, code: int, says: str) -> None:
    (device.folder / spoil).unlink()
    done = device.start()
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[storage]\nslot_a = 'a'\n", "missing key storage.slot_b"),
        ("storage = 1\n", "storage: must be a table"),
        ("[storage]\nslot_a = 5\n", "storage.slot_a: must be a path in quotes"),
        ("[storage\n", "not valid TOML"),
        (f"{STORAGE}[boot]\nbackend = 'grub'\n", "boot.backend: 'grub' is not one of slots, tryboot, uboot"),
        (f"{STORAGE}[boot]\npartition_b = 2\n", "boot.partition_a, boot.partition_b: must be two different numbers"),
        (f"{STORAGE}[boot]\npartition_a = true\n", "boot.partition_a, boot.partition_b: must be two different numbers"),
        (f"{STORAGE}[boot]\nautoboot = 1\n", "boot.autoboot and boot.fw_env_config: must be paths in quotes"),
    ],
)
def test_a_wrong_configuration_names_the_key(device: Device, text: str, says: str) -> None:
    device.config.write_text(text, encoding="utf-8")
    done = device.start()
    assert done.returncode == EXIT_USAGE
    assert says in done.stderr


def test_the_image_s_exit_code_is_the_process_s(device: Device) -> None:
    device.stage(zipapp_image(EXIT_75, Version(1, 2, 0), counter=2))
    assert device.start().returncode == EXIT_RESTART


def test_a_killed_trial_spends_a_try_and_the_watchdog_is_believed(device: Device, tmp_path: Path) -> None:
    device.stage(zipapp_image(HANG, Version(1, 2, 0), counter=2))
    for _ in range(2):
        with subprocess.Popen(device.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            with device.control(Slot.B) as control:
                control.report_running()
            child.send_signal(signal.SIGKILL)
            child.wait()
    (tmp_path / "service-result").write_text("watchdog\n", encoding="ascii")
    done = device.start(RUNTIME_DIRECTORY=str(tmp_path))
    assert json.loads(done.stdout)["handover"]["reverted"]["reason"] == EndReason.WATCHDOG.name
    assert not (tmp_path / "service-result").exists()


def test_it_imports_nothing_but_what_the_base_promises(base: Path) -> None:
    """No zigpy, no settings library: what the first stage imports must start fast and never fail."""
    code = "import sys, agent.boot.first_stage; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([str(base), "-I", "-c", code], capture_output=True, text=True, check=True)
    pycryptodome = {"Crypto", "cffi", "_cffi_backend", "pycparser"}
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) <= {"agent", "__main__"} | pycryptodome


ENDINGS = {
    "os.abort()": "was ended by signal 6",
    **{f"os._exit({code})": f"ended with exit code {code}" for code in (0, 2, 6)},
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_under_the_unit_a_trial_goes_back_however_it_ends(device: Device, ending: str) -> None:
    device.stage(zipapp_image(f"import os\n{ending}\n", Version(1, 2, 0), counter=2))
    command = [device.command[0], "-I", "-m", "boards.virtual.unit", "--config", str(device.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["version"], told["handover"]["reverted"]["slot"]) == ("1.0.0", "B")
    assert done.stderr.count(f"unit: the image {ENDINGS[ending]}; next start") == device.places.tries


def test_under_the_unit_a_confirmed_image_that_finds_its_configuration_wrong_ends_it(device: Device) -> None:
    device.stage(zipapp_image("raise SystemExit(2)", Version(1, 2, 0), counter=2))
    with device.control(Slot.B) as control:
        control.confirm()
    command = [device.command[0], "-I", "-m", "boards.virtual.unit", "--config", str(device.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == EXIT_USAGE
    assert done.stderr.endswith("unit: the configuration is wrong: correct it, then start the unit again\n")


# --- a boot loader selects the slot -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boot", "says"),
    [
        ("backend = 'tryboot'\nautoboot = '/nonexistent/autoboot.txt'", "/nonexistent/autoboot.txt: cannot open"),
        ("backend = 'uboot'", "fw_printenv"),
    ],
)
def test_a_boot_loader_that_is_not_there_is_told_and_nothing_runs(device: Device, boot: str, says: str) -> None:
    device.config.write_text(f"{device.config.read_text(encoding='utf-8')}[boot]\n{boot}\n", encoding="utf-8")
    done = device.start(PATH="/nonexistent")
    assert (done.returncode, done.stdout) == (EXIT_STORAGE, "")
    assert says in json.loads(done.stderr.splitlines()[-1])["reason"]


@pytest.mark.parametrize(("code", "ends"), [(0, EXIT_RESTART), (1, EXIT_REFUSED)])
def test_it_restarts_the_machine_for_what_is_armed(
    device: Device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    ends: int,
) -> None:
    """On a Pi that came up in A after a cut, with a trial of B that had been decided."""
    machine = TrybootMachine(tmp_path / "pi")
    autoboot = tmp_path / "autoboot.txt"
    provision_autoboot(autoboot, Slot.A, machine.places.partitions)
    machine.come_up()
    known = replace(machine.places, autoboot=autoboot)
    monkeypatch.setattr(backends, "TrybootPlaces", lambda *_: known)
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit {code}\n', encoding="ascii")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    device.stage(NEW)
    boot = f"[boot]\nbackend = 'tryboot'\nautoboot = '{autoboot}'\n"
    device.config.write_text(f"{device.config.read_text(encoding='utf-8')}{boot}", encoding="utf-8")
    assert first_stage.main(["--config", str(device.config)]) == ends
    assert (tmp_path / "asked").read_text(encoding="ascii") == "reboot --reboot-argument=0 tryboot\n"
    assert ("cannot be restarted" in capsys.readouterr().err) == bool(code)
