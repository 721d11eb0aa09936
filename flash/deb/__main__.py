"""``make deb``: the Debian package, for bookworm on this machine's processor or, by options, another."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from pathlib import Path

from agent.errors import HanError
from flash.deb.package import MACHINES, RELEASES, Order, build
from flash.image_build import default_source


def main(argv: list[str] | None = None) -> int:
    """Prints the path of the package; 2, 4: as ``han-agent`` has them."""
    parser = argparse.ArgumentParser(prog="python -m flash.deb", description=__doc__)
    here = next((name for name, machine in MACHINES.items() if machine == platform.machine()), "amd64")
    parser.add_argument("--release", choices=tuple(RELEASES), default="bookworm")
    parser.add_argument("--arch", choices=tuple(MACHINES), default=here)
    parser.add_argument("--wheelhouse", type=Path, metavar="DIR", help="wheels to take; without, they are downloaded")
    parser.add_argument("--output", type=Path, default=Path("dist"), metavar="DIR")
    parser.add_argument("--build", type=Path, default=Path("build/deb"), metavar="DIR", help="emptied first")
    args = parser.parse_args(argv)
    order = Order(default_source(), RELEASES[args.release], args.arch, args.wheelhouse, args.build.resolve())
    try:
        made = build(order)
        args.output.mkdir(parents=True, exist_ok=True)
        print(shutil.copy(made, args.output))
    except HanError as error:
        print(f"make deb: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"make deb: {error.filename or os.curdir}: {error.strerror}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
