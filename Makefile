# The two commands of the README are `make demo` and `make test`; both do their own set-up.
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
DEVICES := $(VENV)/.devices

.DEFAULT_GOAL := help

# Every process that a command or a test starts reads what was compiled before, and compiles nothing.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## Show this help
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: $(INSTALLED) ## Train, prune, compile and measure ResNet-8 on Fashion-MNIST
	$(VENV)/bin/hwopt optimize recipes/demo.yaml

# Two processes share two cores: torch takes one thread in each, and none that waits keeps a core busy.
SIDE_BY_SIDE := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(DEVICES) ## Run all tests: two at a time, then alone those that compare times
	$(SIDE_BY_SIDE) --durations=40 -m "not alone"
	$(PYTHON) -m pytest -m alone $$(grep -rl "mark\.alone" tests)

.PHONY: test-fast
test-fast: $(INSTALLED) ## Run the tests that are not marked slow
	$(SIDE_BY_SIDE) -m "not slow and not alone"

.PHONY: lint
lint: $(INSTALLED) ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

.PHONY: format
format: $(INSTALLED) ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: setup
setup: $(INSTALLED) ## Make the virtual environment only

.PHONY: clean
clean: ## Remove the virtual environment and the demo's results
	rm -rf $(VENV) runs/demo

$(DEVICES): $(INSTALLED) scripts/setup-system.sh
	scripts/setup-system.sh devices || echo "Tests of the devices that are missing are skipped."
	touch $@

$(INSTALLED): pyproject.toml constraints.txt
	scripts/setup-system.sh
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hwopt needs Python 3.11 or newer")'
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[bench,dev,ray]"
	touch $@
