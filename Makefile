PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run test format clean

# Classify the bundled sample images, as after a fresh installation.
run: $(VENV)/installed
	@rm -rf .run
	$(BIN)/edge-detect watch tests/data/cifake/test --recursive --once --state .run

# Linter, types and tests.
test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .run build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,convert,dev]'
	@touch $@ $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edge-detect needs Python 3.11 or later; name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python makes no virtual environments; on Debian: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
