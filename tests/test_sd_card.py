"""A card made of a small Raspberry Pi OS image, then looked at: through debugfs, and as root mounted and started."""

from __future__ import annotations

import filecmp
import io
import json
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.errors import EXIT_OK, EXIT_REFUSED, EXIT_STORAGE, EXIT_USAGE
from agent.image.version import Version
from boards.raspberry_pi.profile import Profile
from flash.image_sign import ImageFacts, sign_image
from flash.sd import card as card_module
from flash.sd import root_files
from flash.sd.ext4 import Ext4
from flash.sd.fat import FatFiles
from flash.sd.inputs import Inputs
from flash.sd.layout import Layout, Part
from flash.sd.table import read_table
from tests.block_disk import run
from tests.device_folder import DeviceFolder, make_device
from tests.image_factory import imgtool_image
from tests.pi_image import BOOKWORM, BOOT_START, DISK_ID, TRIXIE, make_image
from tests.wheels import make_wheelhouse

UART = "/dev/ttyAMA0"
VERSION = Version(1, 0, 4)
SMALL = ("--data-size", "16M")
SAYS = "import os, sys\nprint('runs as', os.getuid(), 'with', sys.argv[1:], flush=True)\n"


@dataclass
class Bench:
    """Everything that a card is made of."""

    folder: Path
    image: Path
    device: DeviceFolder
    firmware: Path
    wheelhouse: Path
    profile: str = "raspberry-pi-4"

    @property
    def output(self) -> Path:
        return self.folder / "out" / "card.img"

    def make(self, *more: str | Path) -> int:
        words = ["flash", "sd", "--image", self.image, "--profile", self.profile, "--identity", self.device.config]
        words += ["--firmware", self.firmware, "--wheelhouse", self.wheelhouse, "--output", self.output, *more]
        return main([str(word) for word in words])

    def layout(self) -> Layout:
        return read_table(self.output)

    def root(self) -> Ext4:
        return Ext4(self.output, self.layout()[2].start_octets, self._scratch())

    def read(self, path: str) -> str:
        octets = self.root().read(path)
        assert octets is not None, path
        return octets.decode()

    def boot_file(self, name: str) -> str:
        text = FatFiles(self.output, BOOT_START, self._scratch(), 0).read(name)
        assert text is not None
        return text

    def left_over(self) -> list[str]:
        return [path.name for path in self.output.parent.iterdir()] if self.output.parent.exists() else []

    def _scratch(self) -> Path:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return scratch


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("images")
    yield {release.name: make_image(folder, release) for release in (BOOKWORM, TRIXIE)}
    shutil.rmtree(folder)


@pytest.fixture
def bench(tmp_path: Path, images: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    yield make_bench(tmp_path, images["bookworm"])
    shutil.rmtree(tmp_path / "out", ignore_errors=True)  # hundreds of megaoctets, though sparse


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, images: dict[str, Path]) -> Iterator[Bench]:
    """One card for all who only look. No PARTUUID of it may stand twice on a machine that tests in parallel."""
    bench = make_bench(tmp_path_factory.mktemp("made"), images["bookworm"])
    assert bench.make("--seed", os.urandom(4).hex()) == EXIT_OK
    yield bench
    shutil.rmtree(bench.folder)


def make_bench(folder: Path, image: Path) -> Bench:
    device = make_device(folder, "ppmid")
    device.write_config(UART)
    firmware = folder / "firmware.bin"
    firmware.write_bytes(program(SAYS, "cp311-base1"))
    return Bench(folder, image, device, firmware, make_wheelhouse(folder / "wheels", "x86_64", "aarch64"))


def zip_of(source: str) -> bytes:
    payload = io.BytesIO()
    with zipfile.ZipFile(payload, "w") as archive:
        archive.writestr("__main__.py", source)
    return payload.getvalue()


def program(source: str, base_abi: str) -> bytes:
    """A Manufacturer Image whose payload runs."""
    return imgtool_image(zip_of(source), ImageFacts(version=VERSION, base_abi=base_abi, security_counter=3))


# --- what is on it ----------------------------------------------------------------------------------------------------


def test_a_card_has_everything_that_the_first_boot_needs(made: Bench) -> None:
    layout, root = made.layout(), made.root()
    assert [one.number for one in layout.partitions] == [1, 2, 3, 5, 6, 7, 8]
    root.check()
    assert made.left_over() == ["card.img"]
    base = "/opt/han-agent/lib/python3.11/site-packages"
    assert made.read(f"{base}/native/__init__.py") == "ARCH = 'aarch64'\n", "wheels of another processor"
    assert made.read("/opt/han-agent/bin/han-agent").startswith("#!/opt/han-agent/bin/python\n")
    assert "include-system-site-packages = true" in made.read("/opt/han-agent/pyvenv.cfg")
    assert str(sys.prefix) not in made.read(f"{base}/han_agent-1.0.dist-info/RECORD")
    assert "WantedBy=multi-user.target" in made.read("/etc/systemd/system/han-agent.service")
    links = ["/etc/systemd/system/multi-user.target.wants/han-agent.service", "/opt/han-agent/bin/python"]
    assert set(root.stat(links)) == set(links)
    assert "RuntimeWatchdogSec" in made.read("/etc/systemd/system.conf.d/han-agent-watchdog.conf")


def test_device_toml_names_the_partitions_and_keeps_the_rest(made: Bench) -> None:
    disk_id = made.layout().disk_id
    given = tomllib.loads(made.device.config.read_text(encoding="utf-8"))
    table = tomllib.loads(made.read("/etc/han-agent/device.toml"))
    assert table.pop("base_abi") == "cp311-base1"
    assert table.pop("storage") == {
        "slot_a": f"PARTUUID={disk_id}-05",
        "slot_b": f"PARTUUID={disk_id}-06",
        "boot_state": f"PARTUUID={disk_id}-07",
        "database": "/var/lib/han-agent/agent.db",
        "keys": "/etc/han-agent/keys",
    }
    given.pop("storage")
    assert table == given
    assert f"PARTUUID={disk_id}-08  /var/lib/han-agent  ext4" in made.read("/etc/fstab")
    rules = made.read("/etc/udev/rules.d/61-han-agent-slots.rules")
    assert [f'"{disk_id}-0{number}", GROUP="han-agent", MODE="0660"' in rules for number in (5, 6, 7, 8)] == [
        True, True, True, False,
    ]  # fmt: skip
    drop_in = made.read("/etc/systemd/system/han-agent.service.d/partitions.conf")
    escaped = subprocess.run(
        ["systemd-escape", "--path", "--suffix=device", f"/dev/disk/by-partuuid/{disk_id}-05"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert f"Wants={escaped} " in drop_in


def test_the_disk_gets_an_identifier_of_its_own_and_root_is_found_by_it(made: Bench) -> None:
    disk_id = made.layout().disk_id
    for text in (made.boot_file("cmdline.txt"), made.read("/etc/fstab")):
        assert DISK_ID not in text
        assert f"PARTUUID={disk_id}-02" in text


def test_the_uart_is_the_radio_s(made: Bench) -> None:
    config = made.boot_file("config.txt")
    assert config.endswith("# han-agent: the radio's UART\n[all]\nenable_uart=1\ndtoverlay=disable-bt\n")
    assert "[cm4]\notg_mode=1" in config
    assert made.boot_file("cmdline.txt").startswith("console=tty1 ")


def test_a_stick_leaves_the_uart_and_its_console_alone(bench: Bench) -> None:
    bench.device.write_config("/dev/han-radio")
    assert bench.make() == EXIT_OK
    assert "han-agent" not in bench.boot_file("config.txt")
    assert bench.boot_file("cmdline.txt").startswith("console=serial0,115200 ")


def test_bookworm_does_not_expand_and_still_makes_its_ssh_keys(made: Bench) -> None:
    assert "init=" not in made.boot_file("cmdline.txt")
    assert made.root().stat([root_files.SSH_KEYS_LINK])


def test_trixie_does_not_expand_nor_change_its_identifier(bench: Bench, images: dict[str, Path]) -> None:
    bench.image = images["trixie"]
    bench.wheelhouse = make_wheelhouse(bench.folder / "wheels-313", "aarch64", python="313")
    bench.firmware.write_bytes(program(SAYS, "cp313-base1"))
    assert bench.make() == EXIT_OK
    assert bench.boot_file("cmdline.txt").split()[-1] == "rootwait"
    assert not bench.root().stat(["/etc/systemd/system/sysinit.target.wants/rpi-resize.service"])
    assert 'mode: "off"' in bench.read("/etc/cloud/cloud.cfg.d/99-han-agent.cfg")
    assert "ARCH" in bench.read("/opt/han-agent/lib/python3.13/site-packages/native/__init__.py")


def test_gpt_where_the_board_boots_it(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.make("--table", "gpt") == EXIT_OK
    layout = bench.layout()
    assert [one.name for one in layout.partitions[2:]] == [part.value for part in Part]
    assert f"PARTUUID={layout.partuuid(2)}" in bench.boot_file("cmdline.txt")
    assert f"PARTUUID={layout.partuuid(3)}" in bench.read("/etc/han-agent/device.toml")
    bench.profile = "raspberry-pi-3"
    assert bench.make("--table", "gpt", "--seed", "another") == EXIT_USAGE
    assert "Raspberry Pi 3 does not boot from it" in capsys.readouterr().err


def test_the_root_grows_when_asked_to(bench: Bench) -> None:
    assert bench.make("--root-size", "400M", "--data-size", "32M") == EXIT_OK
    bench.root().check()
    block = bench.root().superblock()
    assert block.blocks * block.block_octets == bench.layout()[2].size_octets >= 400 * 2**20


def test_a_machine_without_a_boot_partition_and_pins_of_its_own(bench: Bench) -> None:
    """As for a virtual machine: the profile has no UART, the radio is behind TCP, the pins are in a file."""
    bench.profile = "virtual"
    text = bench.device.config.read_text(encoding="utf-8").replace(UART, "socket://192.0.2.7:9990")
    bench.device.config.write_text(text + '[board]\nprofile = "virtual"\n', encoding="utf-8")
    assert bench.make() == EXIT_OK
    assert "IPAddressAllow=192.0.2.7" in bench.read("/etc/systemd/system/han-agent.service.d/network-radio.conf")
    assert not bench.root().stat(["/etc/systemd/system.conf.d"])
    made = tomllib.loads(bench.read("/etc/han-agent/device.toml"))
    assert made["board"] == {"profile": "virtual", "pins": "/var/lib/han-agent/pins"}


def test_a_list_of_devices_becomes_a_card_each(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """As a lab does it: the devices first, then a firmware signed with the manufacturer's key, then the cards."""
    (bench.folder / "lot.csv").write_text("eui,role\n02DB000000000031,ppmid\n02DB000000000032,ppmid\n")
    made = bench.folder / "made"
    words = ["flash", "provision", "--csv", str(bench.folder / "lot.csv"), "--output", str(made)]
    assert main(words) == EXIT_OK
    facts = ImageFacts(version=VERSION, base_abi="cp311-base1", security_counter=3)
    bench.firmware.write_bytes(sign_image(zip_of(SAYS), made / "manufacturer" / "manufacturer.pem", facts))
    cards = ["--image", str(bench.image), "--wheelhouse", str(bench.wheelhouse), "--firmware", str(bench.firmware)]
    assert main([*words, *cards]) == EXIT_USAGE
    assert "02DB000000000031 has no profile" in capsys.readouterr().err
    cards += ["--profile", "raspberry-pi-5", "--data-size", "16M", "--json"]
    assert main([*words, *cards]) == EXIT_OK
    capsys.readouterr()
    assert main([*words, *cards]) == EXIT_OK, "a second time nothing is made"
    told = json.loads(capsys.readouterr().out)
    assert [one["kept"] for one in told["devices"]] == [True, True]
    facts_of = [card_module.read_facts(Path(card)) for card in told["cards"]]
    assert [facts["eui"] for facts in facts_of] == ["02DB000000000031", "02DB000000000032"]
    assert len({read_table(Path(card)).disk_id for card in told["cards"]}) == 2
    shutil.rmtree(made / "cards")


# --- again, and when it fails -----------------------------------------------------------------------------------------


def test_the_same_inputs_make_the_same_octets(bench: Bench) -> None:
    assert bench.make() == EXIT_OK
    first = bench.output.rename(bench.output.with_name("first.img"))
    assert bench.make() == EXIT_OK
    assert filecmp.cmp(first, bench.output, shallow=False)
    first.unlink()
    assert bench.make("--seed", "another") == EXIT_STORAGE, "other inputs, and nothing is overwritten"


def test_an_image_is_unpacked_on_the_way(bench: Bench) -> None:
    packed = bench.folder / "raspios.img.xz"
    packed.write_bytes(lzma.compress(bench.image.read_bytes(), preset=0))
    bench.image = packed
    assert bench.make() == EXIT_OK
    assert "console=tty1" in bench.boot_file("cmdline.txt")
    bench.root().check()
    assert bench.output.stat().st_blocks * 512 < 64 * 2**20, "zeros are holes"


def test_again_on_its_own_output_changes_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.make() == EXIT_OK
    before = bench.output.stat().st_mtime_ns
    capsys.readouterr()
    assert bench.make("--json") == EXIT_OK
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["already"] is True
    bench.device.write_config("/dev/han-radio")
    assert bench.make() == EXIT_STORAGE
    assert "is there already, made of other inputs; nothing is overwritten" in capsys.readouterr().err
    assert bench.output.stat().st_mtime_ns == before
    bench.image, made = bench.output, bench.output
    assert main(["flash", "sd", *_options(bench), "--output", str(bench.folder / "out" / "more.img")]) == EXIT_USAGE
    assert "was it made by flash sd before?" in capsys.readouterr().err
    assert bench.left_over() == [made.name]


def _options(bench: Bench) -> list[str]:
    options = {"image": bench.image, "profile": bench.profile, "identity": bench.device.config}
    options |= {"firmware": bench.firmware, "wheelhouse": bench.wheelhouse}
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        ("firmware", EXIT_REFUSED, "image "),
        ("wheel", EXIT_STORAGE, "lacks wheels for this image .* --arch aarch64 --python 3.11"),
        ("no agent", EXIT_USAGE, "no wheel of han-agent in it"),
        ("image", EXIT_STORAGE, "no partition table"),
        ("zip", EXIT_USAGE, "a zip archive: unzip it first"),
        ("xz", EXIT_STORAGE, "damaged"),
        ("identity", EXIT_USAGE, "no device.toml in it; make one with han-agent flash provision"),
        ("base", EXIT_USAGE, "base_abi: 'cp39-base1', but this image is 'cp311-base1'"),
        ("loader", EXIT_USAGE, "boot.backend: 'uboot': a card is for the first stage's slots"),
        ("pins", EXIT_USAGE, "board.profile: 'raspberry-pi-5', but --profile is 'raspberry-pi-4'"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(
    bench: Bench, spoil: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bench.device.config
    match spoil:
        case "firmware":
            bench.firmware.write_bytes(bench.firmware.read_bytes()[:-1] + b"\0")
        case "wheel":
            next(bench.wheelhouse.glob("native*aarch64.whl")).unlink()
        case "no agent":
            next(bench.wheelhouse.glob("han_agent*.whl")).unlink()
        case "identity":
            config.unlink()
        case "base":
            config.write_text('base_abi = "cp39-base1"\n' + config.read_text(encoding="utf-8"), encoding="utf-8")
        case "loader":
            config.write_text(config.read_text(encoding="utf-8") + '[boot]\nbackend = "uboot"\n')
        case "pins":
            config.write_text(config.read_text(encoding="utf-8") + '[board]\nprofile = "raspberry-pi-5"\n')
        case _:
            bench.image = bench.folder / "spoilt.img"
            octets = {"image": bytes(2**20), "zip": b"PK\x03\x04", "xz": lzma.compress(bytes(2**20))[:-20]}
            bench.image.write_bytes(octets[spoil])
    assert bench.make() == code
    found = capsys.readouterr().err
    assert re.search(message, found), found
    assert bench.left_over() == []


def test_a_root_without_room_is_told_with_the_remedy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(root_files, "RESERVE_OCTETS", 400 * 2**20)
    assert bench.make() == EXIT_STORAGE
    assert "give it more with --root-size" in capsys.readouterr().err
    assert bench.left_over() == []
    assert bench.make("--root-size", "700M") == EXIT_OK


@pytest.mark.parametrize("step", ["copy", "partitions", "agent", "root", "data"])
def test_a_failure_in_the_middle_leaves_nothing(bench: Bench, step: str) -> None:
    inputs = Inputs(
        image=bench.image,
        profile=Profile(title="a board", driver="rpi-gpio"),
        identity=bench.device.config,
        firmware=bench.firmware,
        wheelhouse=bench.wheelhouse,
    )

    def show(now: str, _done: int, _total: int) -> None:
        if now == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        card_module.build_card(inputs, bench.output, show)
    assert bench.left_over() == []


def test_what_a_run_left_that_lost_its_power_is_in_nobody_s_way(bench: Bench) -> None:
    bench.output.parent.mkdir()
    bench.output.with_name(".card.img.partial").write_bytes(b"left by a run that lost its power")
    assert bench.make() == EXIT_OK
    assert bench.left_over() == ["card.img"]


# --- as root, on loop devices -----------------------------------------------------------------------------------------


@contextmanager
def attached(card: Path, *, partitions: bool = True) -> Iterator[str]:
    """The card as a disk; detached whatever happens. Skips, with its reason, where that cannot be done."""
    missing = [tool for tool in ("losetup", "partx", "blkid", "mount", "unshare") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs {', '.join(missing)}" if missing else "needs root for loop devices")
    done = subprocess.run(["losetup", "--find", "--show", str(card)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        if partitions:
            run("partx", "--add", device)
        yield device
    finally:
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        run("losetup", "--detach", device)


@contextmanager
def mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    run("mount", "-o", "ro", device, str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))
        folder.rmdir()


def test_mounted_it_is_owned_as_it_should_be(made: Bench) -> None:
    with attached(made.output) as disk, mounted(f"{disk}p2", made.folder / "root") as root:
        user = next(line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if "han-agent" in line)
        uid, gid = int(user[2]), int(user[3])
        groups = dict(line.split(":x:") for line in (root / "etc/group").read_text().splitlines())
        assert [groups[name].split(":")[1] for name in ("dialout", "gpio")] == ["han-agent", "han-agent"]
        wanted = {
            "etc/han-agent": (0o750, 0, gid),
            "etc/han-agent/device.toml": (0o640, 0, gid),
            "etc/han-agent/keys": (0o750, 0, gid),
            "etc/han-agent/keys/trust/manufacturer.pem": (0o640, 0, gid),
            "etc/han-agent/keys/02db000000000001-ds.key": (0o640, 0, gid),
            "etc/shadow": (0o640, 0, 0),
            "etc/passwd": (0o644, 0, 0),
            "opt/han-agent": (0o755, 0, 0),
            "opt/han-agent/bin/han-agent": (0o755, 0, 0),
            "opt/han-agent/lib/python3.11/site-packages/agent/__init__.py": (0o644, 0, 0),
            "var/lib/han-agent": (0o750, uid, gid),
        }
        found = {name: (root / name).stat() for name in wanted}
        assert {name: (stat.S_IMODE(of.st_mode), of.st_uid, of.st_gid) for name, of in found.items()} == wanted
        assert (root / "usr/local/bin/han-agent").readlink() == Path("/opt/han-agent/bin/han-agent")
        with mounted(f"{disk}p8", made.folder / "data") as data:
            of = data.stat()
            assert (stat.S_IMODE(of.st_mode), of.st_uid, of.st_gid) == (0o750, uid, gid)
    assert "han-card" not in Path("/proc/mounts").read_text()


def test_the_first_stage_starts_from_the_card(made: Bench) -> None:
    """With the card's own /etc, through its PARTUUIDs, the program in slot A: only the processor is this machine's."""
    with attached(made.output) as disk, mounted(f"{disk}p2", made.folder / "root") as root:
        first_stage = f"{sys.executable} -I -m agent.boot.first_stage --config /etc/han-agent/device.toml"
        script = f"mount --bind {root}/etc /etc && exec {first_stage}"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, "runs as 0 with ['--config', '/etc/han-agent/device.toml']\n"), (
            done
        )
        assert '"slot": "A"' in done.stderr or "slot A" in done.stderr, done.stderr


def test_a_card_in_a_reader_is_written_whole(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.make(*SMALL) == EXIT_OK
    medium = bench.folder / "out" / "medium"
    with medium.open("wb") as file:
        file.truncate(2 * 2**30)
    with attached(medium, partitions=False) as disk:
        words = ["flash", "sd", *_options(bench), "--device", disk, "--yes", *SMALL]
        assert main(words) == EXIT_USAGE
        assert "hardly a card; --i-know if it is the one" in capsys.readouterr().err
        assert main([*words, "--i-know"]) == EXIT_OK
        octets = bench.output.stat().st_size
        compared = ["cmp", "--bytes", str(octets), str(bench.output), disk]
        assert subprocess.run(compared, capture_output=True, text=True, check=False).stdout == ""
    assert main(["flash", "sd", *_options(bench)]) == EXIT_USAGE
    assert "or the card itself with --device" in capsys.readouterr().err
