"""``make deb-test``: needs root, mmdebstrap, debhelper, help2man and lintian. See the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from agent.errors import HanError, StorageError
from flash.deb.package import RELEASES, Order, build
from flash.image_build import default_source
from tests.debian_root import RootError, bootstrap, run, run_in

TOOLS = {"mmdebstrap": "mmdebstrap", "lintian": "lintian"}
OPTIONS = ("--variant=apt", "--include=systemd,udev,python3", '--aptopt=Apt::Install-Recommends "false"')
NO_SERVICES = "#!/bin/sh\nexit 101\n"  # policy-rc.d(8): there is no systemd running in a root like this
BEGAN = time.monotonic()


def main() -> int:
    """0: every step of every release as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.deb", description=__doc__)
    parser.add_argument("--release", choices=tuple(RELEASES), action="append", help="only this one; both without it")
    args = parser.parse_args()
    try:
        _check_tools()
        for name in args.release or RELEASES:
            _try(name)
    except HanError as error:
        print(f"make deb-test: {error}", file=sys.stderr)
        return error.exit_code
    say("every step was as it should be")
    return 0


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:7.1f} s  {text}", flush=True)


def expect(happened: object, what: str) -> None:
    if not happened:
        raise RootError(f"not as it should be: {what}")


def _check_tools() -> None:
    if os.geteuid() != 0:
        raise RootError("a root belongs to its users: run it as root")
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise StorageError(f"missing tools: apt install {' '.join(missing)}")


def _try(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="han-deb-") as text:
        folder = Path(text)
        package = build(Order(default_source(), RELEASES[name], "amd64", None, folder / "build"))
        say(f"{name}: {package.name}, {package.stat().st_size} octets")
        found = run(["lintian", "--allow-root", "--fail-on", "error,warning", str(package)])
        expect(not found.strip(), f"lintian finds something:\n{found}")
        say(f"{name}: lintian finds nothing")
        root = folder / "root"
        bootstrap(name, root, OPTIONS)
        (root / "usr/sbin/policy-rc.d").write_text(NO_SERVICES)
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        say(f"{name}: a root is made")
        _walk(name, root, package, _older(package, folder))


def _older(package: Path, folder: Path) -> Path:
    """The same package under a lower version, with a file and a byte code that the newer one does not have."""
    tree = folder / "older"
    run(["dpkg-deb", "-R", str(package), str(tree)])
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.1", control.read_text(), flags=re.MULTILINE))
    (folder_of_code(tree) / "agent" / "of_an_older_version.py").write_text("\n")
    made = folder / "han-agent_0.0.1_amd64.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(tree), str(made)])
    return made


def folder_of_code(root: Path) -> Path:
    (folder,) = (root / "opt/han-agent/lib").glob("python3.*/site-packages")
    return folder


def _install(root: Path, package: Path) -> None:
    shutil.copy(package, root / "srv/package.deb")
    apt = ("apt-get", "-q", "-y", "--no-install-recommends")
    run_in(root, "env", "DEBIAN_FRONTEND=noninteractive", *apt, "install", "/srv/package.deb")
    (root / "srv/package.deb").unlink()


def _demo(root: Path) -> dict[str, object]:
    """As the agent's own user, which writes where it may."""
    user = ("setpriv", "--reuid=han-agent", "--regid=han-agent", "--clear-groups", "--reset-env")
    command = "cd /var/lib/han-agent && exec han-agent demo --json --workdir demo"
    told: dict[str, object] = json.loads(run_in(root, *user, "sh", "-c", command))
    shutil.rmtree(root / "var/lib/han-agent/demo")
    return told


def _walk(name: str, root: Path, package: Path, older: Path) -> None:
    before = _tree(root)
    _install(root, older)
    _look(root, "0.0.1")
    say(f"{name}: installed; user, groups, folders and modes are right, the service waits for its configuration")
    state = root / "var/lib/han-agent/agent.db"
    state.write_text("of a device\n")
    _install(root, package)
    _look(root, package.name.split("_")[1])
    code = folder_of_code(root) / "agent"
    expect(not list(code.rglob("of_an_older_version*")), "what only the older version had is left")
    expect(state.exists(), "the device's state outlives an upgrade")
    say(f"{name}: upgraded")
    told = _demo(root)
    expect(told["ok"], f"the demo in it says {told}")
    say(f"{name}: the installed package updates a device over the air (han-agent demo, as its own user)")
    run_in(root, "dpkg", "--remove", "han-agent")
    expect(not (root / "opt/han-agent").exists(), "code is left after a remove")
    expect(state.exists(), "the device's state outlives a remove")
    _install(root, package)
    run_in(root, "dpkg", "--purge", "han-agent")
    left = sorted(path for path in _tree(root) - before if "han-agent" in path)
    expect(not left, f"left after a purge: {left}")
    say(f"{name}: removed, installed again and purged; nothing is left")


def _look(root: Path, version: str) -> None:
    expect(run_in(root, "dpkg-query", "-W", "-f", "${Version}", "han-agent") == version, f"version {version}")
    expect(not run_in(root, "dpkg", "--verify", "han-agent"), "files are not as they were packed")
    expect(re.match(r"han-agent \d", run_in(root, "han-agent", "--version")), "han-agent --version")
    groups = run_in(root, "id", "-nG", "han-agent").split()
    expect({"han-agent", "dialout", "gpio"} <= set(groups), f"its groups are {groups}")
    owners = run_in(root, "stat", "-c", "%U:%G %a", "/etc/han-agent/keys", "/var/lib/han-agent").split("\n")
    expect(owners[:2] == ["root:han-agent 750", "han-agent:han-agent 750"], f"owners and modes are {owners}")
    enabled = run_in(root, "systemctl", "is-enabled", "han-agent.service", accepted=(0, 1)).strip()
    expect(enabled == "disabled", f"the service is {enabled}")
    expect(list(folder_of_code(root).glob("agent/__pycache__/main.*.pyc")), "byte code is made")


def _tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not str(path).startswith(str(root / "proc"))}


if __name__ == "__main__":
    sys.exit(main())
