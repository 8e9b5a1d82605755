# Everything a developer or a CI machine runs. Needs Python >= 3.11, git and make; the rest is installed into .venv.
# Choose another interpreter with PYTHON=/path/to/python, pass arguments to the demo with ARGS=--check.

PYTHON ?= $(shell sh tools/find-python.sh)
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check install --quiet
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench verify clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

# A stamp per set of packages: nothing is installed again until pyproject.toml changes.
$(PY):
	@test -n "$(PYTHON)" || { echo "Taskyard needs Python 3.11 or newer; set PYTHON=/path/to/python."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(PY)
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(PY)
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime  ## Index real files with real workers, in one terminal
	$(PY) -m taskyard demo $(ARGS)

test: $(VENV)/.dev  ## Lint, types, contracts, then every tier on every server and interpreter there is
	@$(PY) tools/tiers.py

check: $(VENV)/.dev  ## Lint, format, types, import contract, size tail, missing migrations
	@$(PY) tools/check.py

format: $(VENV)/.dev  ## Let ruff mend what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(VENV)/.dev  ## Measure the layouts of the job table against each other (docs/decisions/0002)
	$(PY) bench/layout.py $(ARGS)

verify: $(VENV)/.dev  ## Slow promises: extras leave Django alone, the wheel installs and runs
	$(PY) tools/verify_extras.py
	$(PY) tools/verify_wheel.py

clean:  ## Remove environments, caches and build products
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
