# Everything a developer or a CI machine runs. Needs Python >= 3.11, git and make; the rest is installed into .venv.
# Choose another interpreter with PYTHON=/path/to/python, pass arguments to the demo with ARGS=--check.

PYTHON ?= $(shell sh tools/find-python.sh)
VENV   := .venv
BENCH  := .venv-bench
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check install --quiet
ARGS   ?=
SEEDS  ?= 100000
PROCESSES ?= 2
MINUTES ?= 20
BROKER ?= database
DB     ?= postgres
TIMINGS ?= short

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-quick bench-layout bench-pages simulate soak verify clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

# A stamp per set of packages: nothing is installed again until pyproject.toml changes.
$(PY):
	@test -n "$(PYTHON)" || { echo "Taskyard needs Python 3.11 or newer; set PYTHON=/path/to/python."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(PY)
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml tests/compat/packages.txt | $(PY)
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps --requirement tests/compat/packages.txt
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

$(BENCH)/.bench: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Taskyard needs Python 3.11 or newer; set PYTHON=/path/to/python."; exit 1; }
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[bench]'
	@touch $@

bench: $(BENCH)/.bench  ## Measure beside the peers and write bench/RESULTS.md; hours: choose with ARGS="drain enqueue"
	$(BENCH)/bin/python -m bench --save $(ARGS)

bench-quick: $(BENCH)/.bench  ## The same with tiny counts and nothing written, to see that it works
	$(BENCH)/bin/python -m bench --quick $(ARGS)

bench-pages: $(VENV)/.dev  ## Pages of the API and the admin on ten million jobs, through HTTP; ten minutes to half an hour, 5 GB
	$(PY) -m bench.pages $(ARGS)

bench-layout: $(VENV)/.dev  ## Measure the layouts of the job table against each other (docs/decisions/0002)
	$(PY) bench/layout.py $(ARGS)

soak: $(VENV)/.dev  ## Random faults under load, then the checker (MINUTES= BROKER= DB= SEED= JOBS= TIMINGS=default)
	@$(PY) -m tests.soak --minutes $(MINUTES) --broker $(BROKER) --db $(DB) --timings $(TIMINGS) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

simulate: $(VENV)/.dev  ## Simulate 100,000 worlds full of faults (SEEDS=, PROCESSES=), or replay one with its story (SEED=)
	@$(PY) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --processes $(PROCESSES))

verify: $(VENV)/.dev  ## Slow promises: extras leave Django alone, the wheel installs and runs, the simulation, the soak
	$(PY) tools/verify_extras.py
	$(PY) tools/verify_wheel.py
	$(PY) -m pytest -m verify --timeout=600
	TASKYARD_TEST_API_EXAMPLES=200 $(PY) -m pytest tests/integration/test_api_contract.py -q --timeout=3600
	TASKYARD_TEST_SCHEDULES=200 TASKYARD_TEST_SCHEDULE_ROUNDS=40 $(PY) -m pytest tests/faults/test_schedulers.py -q
	for kind in rows schemas databases; do TASKYARD_TEST_TENANCY=$$kind TASKYARD_TEST_TENANT_JOBS=20000 \
		$(PY) -m pytest tests/tenancy/test_workers.py --ds tests.tenancy.settings -q -k strays || exit 1; done
	$(PY) -m tests.simulation --seeds $(SEEDS) --processes $(PROCESSES)
	for broker in database redis rabbitmq; do $(PY) -m tests.soak --minutes $(MINUTES) --broker $$broker || exit 1; done
	for db in sqlite mysql; do $(PY) -m tests.soak --minutes 5 --db $$db --jobs 6000 || exit 1; done

clean:  ## Remove environments, caches and build products
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
