# make run     set up, then take real handwritten digits to a registered model and its predictions
# make test    set up, then pass the tests
# make check   set up, then lint, format, types and the generated recipe reference
# make proof   set up, then the slow tests and the benchmarks (needs ../shared/data)
#
# The set-up is done once, in $(VENV), and again when constraints.txt or pyproject.toml change.
# With another Python: make run PYTHON=python3.12

SHELL := bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := constraints.txt pyproject.toml
# All are run, also where one misses its aim; not what they share.
BENCHMARKS := $(filter-out %/measure.py %/cases.py,$(wildcard benchmarks/*.py))

# pip's own output is a line for each of 200 packages: shown are the large downloads and what it is at.
PROGRESS := while read -r line; do case "$$line" in *" "[MG]"B)"*) echo "  $$line";; Installing*) echo "  unpacking all packages ...";; esac; done
INSTALL = set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt

.PHONY: run test check proof
.DELETE_ON_ERROR:

run: $(VENV)/.ready
	$(BIN)/cvflow run digits

test: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow"

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cvflow cli
	$(BIN)/python -m cvflow.recipe.reference --check

proof: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --timeout 3600
	failed=0; for script in $(BENCHMARKS); do GOMP_SPINCOUNT=3000 $(BIN)/python $$script || failed=1; done; exit $$failed

$(VENV)/.ready: $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "cvflow needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)."; \
	  echo "Type, for example: make $(or $(MAKECMDGOALS),run) PYTHON=python3.11"; exit 1; } >&2
	@test -x $(BIN)/pip || { echo "setting up $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing cvflow and what it needs into $(VENV): some GB, minutes the first time"
	@$(INSTALL) -e . | $(PROGRESS)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "installing the test tools into $(VENV)"
	@$(INSTALL) -e '.[dev]' | $(PROGRESS)
	@touch $@
