"""``han-agent image`` and ``keys`` from end to end: exit codes, what is printed, bad input without a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.errors import EXIT_OK, EXIT_REFUSED, EXIT_STORAGE, EXIT_USAGE
from agent.image import mcuboot, ota_file
from agent.image.ota_form import Form
from flash.image_build import default_source

WRAP = ["--manufacturer-code", "0x1234", "--image-type", "66", "--hardware", "1..3"]


class Lab:
    """A folder with keys and a payload, and the command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.key = self.keys / "manufacturer" / "manufacturer.pem"
        self.trust = self.keys / "devices" / "02db000000000001" / "trust"
        self.firmware = folder / "firmware.ota"
        self._capsys = capsys

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            code = int(stopped.code or 0)
        printed = self._capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, printed.out, printed.err

    def sign(self, *arguments: object, payload: str = "payload.zip") -> tuple[int, str, str]:
        """``image sign`` into ``firmware``."""
        return self.run("image", "sign", self.folder / payload, "--key", self.key, *arguments, "-o", self.firmware)

    def verify(self, *arguments: object) -> dict[str, Any]:
        """``image verify --json`` of ``firmware``, with its exit code."""
        code, out, err = self.run("image", "verify", self.firmware, "--trust", self.trust, "--json", *arguments)
        assert err == ""
        return json.loads(out) | {"exit_code": code}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and a payload of this repository's code, made once."""
    folder = tmp_path_factory.mktemp("lab")
    source = folder / "source"
    for name in ("agent", "boards"):
        shutil.copytree(default_source() / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "agent" / "main.py").write_text("def main() -> int:\n    return 0\n")
    assert main(["keys", "new", "--directory", str(folder / "keys"), "--role", "hcalcs"]) == EXIT_OK
    payload = str(folder / "payload.zip")
    built = ["image", "build", "--version", "1.1.0", "--base-abi", "debian-12", "--source", str(source), "-o", payload]
    assert main(built) == EXIT_OK
    (folder / "squashfs").write_bytes(b"hsqs" + bytes(100))
    return folder


@pytest.fixture
def lab(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Lab:
    made = Lab(prepared, capsys)
    made.firmware = tmp_path / "firmware.ota"
    return made


def test_built_signed_and_verified(lab: Lab) -> None:
    code, out, _ = lab.sign(*WRAP, "--security-counter", 3, "--upgrade-from", "1.0.0..1.0.9")
    assert code == EXIT_OK
    assert "gb-ppmid 1.1.0" in out
    assert lab.verify()["exit_code"] == EXIT_OK
    asked = ["--manufacturer-code", "0x1234", "--image-type", 66, "--hardware", 2, "--running-version", "1.0.3"]
    verdict = lab.verify(*asked, "--minimum-security-counter", 3, "--base-abi", "debian-12")
    assert (verdict["accepted"], verdict["version"], verdict["security_counter"]) == (True, "1.1.0", 3)
    file = ota_file.parse(lab.firmware.read_bytes(), Form.GB_PPMID)
    assert file.header.header_string.rstrip(b"\0") == b"HAN agent 1.1.0"
    assert verdict["manufacturer_image_hash"] == mcuboot.parse(file.image).manufacturer_image_hash.hex()
    header = mcuboot.parse_header(file.image)
    assert file.image[header.header_octets : header.tlv_offset] == (lab.folder / "payload.zip").read_bytes()


def test_a_refusal_has_its_reason_its_status_and_exit_code_1(lab: Lab) -> None:
    lab.sign(*WRAP, "--security-counter", 3)
    for asked, reason, status in (
        (("--manufacturer-code", 1), "manufacturer", "0x96"),
        (("--image-type", 1), "image-type", "0x96"),
        (("--hardware", 4), "hardware", "0x96"),
        (("--running-version", "1.1.0"), "not-newer", "0x96"),
        (("--minimum-security-counter", 4), "security-counter", "0x96"),
        (("--base-abi", "debian-13"), "base-abi", "0x95"),
        (("--slot-octets", 1000), "size", "0x95"),
    ):
        verdict = lab.verify(*asked)
        assert verdict["exit_code"] == EXIT_REFUSED
        assert (verdict["reason"], verdict["wire_status"]) == (reason, status)
    code, out, _ = lab.run("image", "verify", lab.firmware, "--trust", lab.trust, "--hardware", 4)
    assert code == EXIT_REFUSED
    assert out.startswith("REFUSED (hardware, status 0x96)")


def test_an_hcalcs_file_carries_the_suppliers_signature(lab: Lab) -> None:
    head_end = lab.keys / "head-end"
    supplier = head_end / "02db000000000a02-ds.key"
    assert lab.sign(*WRAP, "--form", "gb-hcalcs", "--supplier-key", supplier)[0] == EXIT_OK
    form = ("--form", "gb-hcalcs")
    assert lab.verify(*form, "--supplier-cert", supplier.with_suffix(".pem"))["accepted"] is True
    wrong = lab.verify(*form, "--supplier-cert", head_end / "02db000000000a04-ds.pem")
    assert (wrong["exit_code"], wrong["reason"]) == (EXIT_REFUSED, "supplier-signature")
    code, out, _ = lab.run("image", "verify", lab.firmware, "--trust", lab.trust, *form)
    assert code == EXIT_OK
    assert "the supplier's signature was not judged" in out
    assert lab.verify()["reason"] == "format"


def test_a_generic_file_and_a_bare_image(lab: Lab) -> None:
    assert lab.sign(*WRAP, "--form", "generic", "--header-string", "for a gateway")[0] == EXIT_OK
    assert lab.verify("--form", "generic")["accepted"] is True
    assert lab.sign("--image-only", "--security-counter", 9)[0] == EXIT_OK
    assert mcuboot.parse(lab.firmware.read_bytes()).security_counter == 9
    command = [sys.executable, "-m", "imgtool.main", "verify", "-k", lab.key, lab.firmware]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    code, out, _ = lab.run("image", "inspect", lab.firmware)
    assert code == EXIT_OK
    assert "manufacturer-image" in out


def test_another_vendors_payload_needs_its_version(lab: Lab) -> None:
    code, _, err = lab.sign(*WRAP, payload="squashfs")
    assert (code, "name it with --version" in err) == (EXIT_USAGE, True)
    assert lab.sign(*WRAP, "--version", "2.0.0", payload="squashfs")[0] == EXIT_OK
    assert lab.verify()["version"] == "2.0.0"
    code, _, err = lab.sign(*WRAP, "--version", "2.0.0")
    assert code == EXIT_USAGE
    assert "is version 1.1.0, not 2.0.0" in err


def test_inspect_tells_whole_from_damaged(lab: Lab) -> None:
    lab.sign(*WRAP)
    code, out, _ = lab.run("image", "inspect", lab.firmware)
    assert code == EXIT_OK
    assert "As gb-ppmid: fits" in out
    assert "Readable to its last octet." in out
    lab.firmware.write_bytes(lab.firmware.read_bytes()[:-1])
    code, out, _ = lab.run("image", "inspect", lab.firmware)
    assert code == EXIT_REFUSED
    assert "DAMAGED: the file is cut short" in out
    code, out, _ = lab.run("image", "inspect", "--json", lab.firmware)
    assert (code, json.loads(out)["damaged"]) == (EXIT_REFUSED, True)


def test_the_published_sample_is_inspected_in_full_and_refused(lab: Lab, vectors: Path) -> None:
    sample = vectors / "dcc_sample_ppmid_11_4.ota"
    code, out, _ = lab.run("image", "inspect", sample)
    assert code == EXIT_OK
    assert "manufacturer code: 0x121D" in out
    assert "I am a GFI PPMID firmware image" in out
    assert "As gb-ppmid: fits" in out
    code, out, _ = lab.run("image", "verify", sample, "--trust", lab.trust)
    assert code == EXIT_REFUSED
    assert out.count("REFUSED") == 1
    assert "not a signed MCUboot image" in out
    assert "nobody vouches for this file" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["image", "inspect", "absent.ota"], EXIT_USAGE, "absent.ota: cannot be read: No such file"),
        (["image", "verify", "absent.ota", "--trust", "."], EXIT_USAGE, "cannot be read"),
        (["image", "build", "--version", "1.1", "-o", "x"], EXIT_USAGE, "is not MAJOR.MINOR.REVISION"),
        (["image", "build", "--version", "1.1.0", "--source", "absent", "-o", "x"], EXIT_USAGE, "no agent/main.py"),
        (["image", "sign", "p", "--key", "k", "-o", "x"], EXIT_USAGE, "--manufacturer-code, --image-type, --hardware"),
        (["image", "sign", "p", "--key", "k", "--hardware", "3..1", "-o", "x"], EXIT_USAGE, "the range is empty"),
        (["image", "sign", "p", "--key", "k", "--hardware", "3", "-o", "x"], EXIT_USAGE, "is not LOW..HIGH"),
        (["image", "sign", "p", "--key", "k", "--upgrade-from", "2.0.0..1.0.0", "-o", "x"], EXIT_USAGE, "is empty"),
        (["image", "sign", "p", "--key", "k", "--image-type", "65536", "-o", "x"], EXIT_USAGE, "does not fit 16 bits"),
        (["image", "sign", "p", "--key", "k", "--image-type", "ten", "-o", "x"], EXIT_USAGE, "is not a number"),
        (["image", "sign", "p", "--key", "k", "--form", "zip", "-o", "x"], EXIT_USAGE, "invalid choice"),
        (["keys", "new", "--directory", "d", "--device", "12"], EXIT_USAGE, "is not an EUI"),
        (["keys", "new", "--directory", "d", "--role", "ihd"], EXIT_USAGE, "taken out of the scope of SECMP0007"),
    ],
)
def test_bad_input_is_named(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = lab.run(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_keys_and_folders_that_are_not_there_are_named(lab: Lab, tmp_path: Path) -> None:
    lab.sign(*WRAP)
    code, _, err = lab.run("image", "verify", lab.firmware, "--trust", tmp_path / "absent")
    assert (code, "no such directory of trusted keys" in err) == (EXIT_STORAGE, True)
    code, _, err = lab.run("image", "verify", lab.firmware, "--trust", lab.key.parent)
    assert (code, "holds a private key" in err) == (EXIT_STORAGE, True)
    lab.firmware = tmp_path / "absent" / "firmware.ota"
    code, _, err = lab.sign(*WRAP)
    assert (code, "cannot be written: No such file" in err) == (EXIT_STORAGE, True)
    lab.key = tmp_path / "absent.pem"
    code, _, err = lab.sign(*WRAP)
    assert (code, "make keys with han-agent keys new" in err) == (EXIT_STORAGE, True)


def test_options_that_contradict_the_form_are_refused(lab: Lab) -> None:
    code, _, err = lab.sign(*WRAP, "--form", "gb-hcalcs")
    assert (code, "--supplier-key belongs to the form gb-hcalcs" in err) == (EXIT_USAGE, True)
    code, _, err = lab.sign(*WRAP, "--supplier-key", lab.key)
    assert (code, "this is gb-ppmid" in err) == (EXIT_USAGE, True)
    code, _, err = lab.sign(*WRAP, "--header-string", "x" * 33)
    assert (code, "at most 32" in err) == (EXIT_USAGE, True)
    assert not lab.firmware.exists()


def test_keys_new_says_what_goes_where(lab: Lab, tmp_path: Path) -> None:
    target = ("--directory", tmp_path / "keys", "--device", "00:DB:12:34:56:78:90:A0")
    code, out, _ = lab.run("keys", "new", *target)
    assert code == EXIT_OK
    assert "Device 00DB1234567890A0" in out
    assert "stays with the manufacturer" in out
    code, out, err = lab.run("keys", "new", *target)
    assert (code, out) == (EXIT_STORAGE, "")
    assert "is there already" in err
    code, out, _ = lab.run("keys", "new", "--directory", tmp_path / "others", "--json")
    facts = json.loads(out)
    assert Path(facts["manufacturer_key"]).is_file()
    assert bytes.fromhex(facts["install_code"]) == bytes.fromhex(Path(facts["install_code_file"]).read_text())
