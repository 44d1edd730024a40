PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

CIFAKE ?= CIFAKE
FIT ?=

.PHONY: run check test test-systemd test-arm test-picamera test-vm test-homeassistant test-container soak bench models format clean

# Classify the sample images, thumbnails and photos, with a fresh ledger.
run: $(VENV)/installed
	@rm -rf .run
	$(BIN)/edge-detect watch tests/data/cifake/test --recursive --once --state .run
	$(BIN)/edge-detect watch tests/data/photos --recursive --once --state .run

# Linter, type checker and the quick tests, without TensorFlow: a minute and a half once everything is installed.
check: $(VENV)/installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quick -n 4

# Linter, type checker and all tests. Four processes, also on two cores: the tests spend half of their time waiting.
test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 4

# Build the compact model in models/: train, convert, verify, measure, write the card. Resumes an interrupted training.
# FIT="..." passes options to the training, such as --precision mixed_bfloat16; RESNET50=RUN adds that run to the card.
models: $(VENV)/installed-dev
	test -f runs/compact/model.keras || $(BIN)/python -m train fit --data $(CIFAKE) --out runs/compact \
	  $(FIT) $$(test -f runs/compact/run.json && echo --resume)
	$(BIN)/python -m convert runs/compact/model.keras --data $(CIFAKE) --out models
	cp runs/compact/model.keras models/compact.keras
	$(BIN)/python -m train card --data $(CIFAKE) --run runs/compact $(if $(RESNET50),--resnet50 $(RESNET50))

# Test the service under a real systemd in a container. Needs root, debootstrap and systemd-container.
test-systemd: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m systemd tests/system/test_systemd.py

# Test an installation on emulated ARM boards. Needs root, debootstrap and qemu-user-static.
test-arm: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m arm tests/system/test_arm.py tests/system/test_counting.py

# Test the real Picamera2 with a virtual camera. Needs root and debootstrap.
test-picamera: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m picamera tests/system/test_virtual_camera.py

# Test a Video4Linux camera and its service in a virtual machine. Needs root, debootstrap and qemu-system-x86.
test-vm: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m vm tests/system/test_vm.py

# Run the core of Home Assistant beside a broker: it must find the board and show each state. As root; needs debootstrap.
test-homeassistant: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m homeassistant tests/edge/serve/mqtt/test_homeassistant.py

# Test the image and the services of compose.yaml in namespaces. Needs root, debootstrap and systemd-container.
test-container: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m container tests/system/test_container.py

# Run each test that kills a watcher a hundred times; then ten minutes of new files, kills and restarts.
soak: $(VENV)/installed-dev
	$(BIN)/python -m pytest --kills 100 tests/edge/watch/test_crash.py -k kill
	$(BIN)/python -m tests.soak --minutes 10

# Check that nothing is slower than tests/benchmarks/ratios.json allows. Takes a minute or more; needs an idle machine.
bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.guard

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .run build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-check: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,convert,dev]'
	@touch $@ $(VENV)/installed $(VENV)/installed-check

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edge-detect needs Python 3.11 or later; name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python cannot create virtual environments; on Debian: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
