# Everything a person types here. Each target installs what it needs first (infra/scripts/setup.sh).
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PACKAGES := libs/common/vitrine_common libs/engine/vitrine_engine libs/harness/vitrine_harness libs/client/vitrine \
	services/api/vitrine_api services/builder/vitrine_builder services/runner/vitrine_runner \
	services/trainer/vitrine_trainer services/monitor/vitrine_monitor
# Without bytecode on disk every start would compile the libraries again.
unexport PYTHONDONTWRITEBYTECODE
export PYTEST_ARGS

.PHONY: base help setup setup-demo demo test check pytest screenshots lock up bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install everything that developing and testing needs
	@infra/scripts/setup.sh test

setup-demo:
	@infra/scripts/setup.sh demo

demo: setup-demo ## Train, share and run a real model on this machine (KEEP=1 leaves it running)
	@$(BIN)/python infra/demo/demo.py $(if $(KEEP),--keep)

test: setup check pytest ## Check the code and run every test

check: setup ## Lint, format, types, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy $(PACKAGES) benchmarks infra tests
	infra/scripts/generated.sh check

pytest: setup
	$(BIN)/python -m pytest -n $(or $(WORKERS),2) tests $(PYTEST_ARGS)

screenshots: setup ## Take the pictures of docs/images from the stack that `make demo KEEP=1` leaves
	$(BIN)/python infra/demo/screenshots.py

lock: setup ## Resolve the locks again (ARGS=--upgrade takes newer versions)
	eval "$$($(BIN)/python libs/common/vitrine_common/indexes.py)" && infra/scripts/lock.sh $(ARGS)

base: setup ## Make the base system of images and Debian packages (ARGS=--again makes a new one)
	$(BIN)/python -m vitrine_builder.base --environments "$${VITRINE_ENVIRONMENTS_DIR:-$$HOME/.local/share/vitrine/environments}" $(ARGS)

up: setup-demo ## Start Vitrine here, until Ctrl-C
	@$(BIN)/vitrine up

bench: setup ## Measure what the stack costs when idle
	$(BIN)/python benchmarks/footprint.py --json
