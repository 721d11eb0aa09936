# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint powercut bench machine-test deb deb-test clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "han-agent needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/han-agent demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup lint
	$(BIN)/pytest -n 2

# Every operation of disk and chip cut, and failed, in every join, update and rollback: fifty minutes on two idle cores.
# Then the running process, killed and failed by strace at its own calls: half as long, left out with KNIFE=no.
powercut: setup
	$(BIN)/python -m tests.powercut
	$(BIN)/python -m tests.powercut --faults
	$(if $(filter no,$(KNIFE)),,$(BIN)/pytest -n 2 --whole-knife tests/system/test_knife.py)

# Speed, CPU, memory and awake time as ratios within one run; RAUC and SWUpdate beside it where installed. Five minutes.
bench: setup
	$(BIN)/python -m tests.bench

# A card made by flash sd, booted under QEMU with systemd and the real units, updated over the air, reset, powered off.
# As root. build/machine keeps the system between runs, and the logs of the last one.
machine-test: setup
	$(BIN)/python -m tests.machine

# The Debian package, into dist/: see flash/deb/README.md.
deb: setup
	$(BIN)/python -m flash.deb

# It made for both releases, installed, upgraded, used and purged in roots of theirs. Root; ten minutes.
deb-test: setup
	$(BIN)/python -m tests.deb

clean:
	rm -rf $(VENV) build dist demo
