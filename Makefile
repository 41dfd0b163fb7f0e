# One command for everything. Needs Python 3.11, make and git; nothing else has to be installed.
#   make demo    record, verify, and catch one flipped byte
#   make test    all tests
#   make check   what CI runs: format, lint, types, layers, tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Quiet by default: what pip prints hides what matters. `make QUIET= …` shows it.
QUIET ?= -q

.DEFAULT_GOAL := check
.PHONY: check static tests test test-313 demo venv system fmt lint types docs schemas bench fuzz lock clean

# More processes than two cores: most tests wait for something. A file's tests stay together, for what
# they share, and files come in the order of their names: whole programs first, units last.
TEST_PROCESSES ?= 3
PYTEST = $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

check: static tests

static: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

tests: venv
	$(PYTEST)

test: system asyncapi venv
	$(PYTEST) $(TESTS)

# As the image has it. All but what runs whole programs: the image itself is run for that.
# One of pyenv first: its shim is found, and works only where that version is chosen.
PYTHON_313 ?= $(or $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python3.13)),$(shell command -v python3.13))
test-313:
	@test -x "$(PYTHON_313)" || { echo "expected Python 3.13, found none; install it or run:" \
	  "make test-313 PYTHON_313=/path/to/python3.13" >&2; exit 1; }
	$(MAKE) test PYTHON=$(PYTHON_313) VENV=.cache/venv-3.13 TESTS="tests/unit tests/contract tests/integration"

demo: venv
	@scripts/setup-system.sh demo
	$(BIN)/recorder demo

venv: $(VENV)/.stamp

# The stamp comes last, so that an interrupted installation is done again.
$(VENV)/.stamp: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or later, found $$($(PYTHON) --version 2>&1);" \
	    "install it or run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing locked packages into $(VENV)"
	@$(BIN)/python -m pip install $(QUIET) --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Xvfb and the libraries for recording a desktop. Without them the tests that need them are skipped.
# SYSTEM=all: what changes more of a machine, too; the script says what.
system:
	@scripts/setup-system.sh $(SYSTEM)

fmt: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: venv
	$(BIN)/mypy

# The parts of docs/ that are drawn from the program's own tables.
docs: venv
	$(BIN)/python scripts/draw_diagrams.py

schemas: venv
	$(BIN)/recorder schemas schemas

# Every parser under fresh bytes for FUZZ_SECONDS each; CI runs a fixed number of documents.
FUZZ_SECONDS ?= 60
fuzz: venv
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -q tests/fuzz

# A whole recorder, whose parts are killed, stopped and cut off at random, and a judge behind it. No
# fault begins after CHAOS_SECONDS. More options: CHAOS='--seed 7 --cluster 3 --out /tmp/here'.
CHAOS_FAULTS ?= 150
CHAOS_SECONDS ?= 240
CHAOS ?=
.PHONY: chaos
chaos: venv
	PYTHONPATH=tests $(BIN)/python -m chaos --faults $(CHAOS_FAULTS) --seconds $(CHAOS_SECONDS) $(CHAOS)

# Fifty sessions at once for an hour that lasts six minutes: what grows, and whether all is there.
.PHONY: soak
soak: venv
	$(BIN)/python -m benchmarks.soak

# A second store, a nats-server and room on the disk are away for OUTAGE_S, in three recorders at once.
# OUTAGE chooses among them: store bus disk.
OUTAGE_S ?= 3600
OUTAGE ?=
.PHONY: outage
outage: venv
	OUTAGE_S=$(OUTAGE_S) PYTHONPATH=tests $(BIN)/python -m endurance $(OUTAGE)

bench: venv
	$(BIN)/python -m benchmarks

# No index is named in the locks, so that they install from whichever one pip is set up for.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: venv
	$(COMPILE) --output-file requirements.txt pyproject.toml
	$(COMPILE) --allow-unsafe --extra dev -c requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The image, with labels out of git: the commit's time, so that the same commit gives the same labels.
# Behind a proxy: PIPCONF=/etc/pip.conf CABUNDLE=/path/to/ca.crt. See docs/containers.md.
ENGINE ?= docker
IMAGE ?= session-recorder:latest
LABELS = VERSION=$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' recorder_worker/__init__.py) \
	REVISION=$(or $(shell git describe --always --abbrev=40 --exclude '*' --dirty),unknown) \
	CREATED=$(or $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ),unknown)
comma := ,
SECRETS = $(if $(PIPCONF),--secret id=pipconf$(comma)src=$(PIPCONF)) \
	$(if $(CABUNDLE),--secret id=cabundle$(comma)src=$(CABUNDLE))
.PHONY: image image-labels container-test
image:
	$(ENGINE) build -f Containerfile -t $(IMAGE) $(LABELS:%=--build-arg %) $(SECRETS) $(BUILD_OPTIONS) .

image-labels:
	@printf '%s\n' $(LABELS)

# Builds, records, kills, verifies. Uses the docker or podman that is there (ENGINE=podman chooses);
# else, on Debian and as root, an engine and base images of its own below .cache (ENGINE=lab).
container-test: export ENGINE := $(if $(filter-out default file,$(origin ENGINE)),$(ENGINE))
container-test: venv
	PYTHONPATH=tests $(BIN)/python -m container.smoke

# AsyncAPI's own parser, for a test; without node that test is skipped.
.PHONY: asyncapi
asyncapi:
	@scripts/setup-asyncapi.sh

# Examples in the AsyncAPI document: what a recorder publishes in sessions that are run for this.
.PHONY: examples
examples: venv
	PYTHONPATH=tests $(BIN)/python scripts/capture_examples.py
	$(BIN)/recorder schemas schemas

# Bill of materials and licences into dist/; asks OSV about known vulnerabilities.
.PHONY: audit
audit: venv
	$(BIN)/python scripts/audit.py
