PYTHON ?= python3
SETUP := build/setup.stamp

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format schemas clean

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP) ## Create .venv and install the package with its pinned dependencies

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e '.[dev]' -c constraints.txt
	@mkdir -p $(@D) && touch $@

demo: setup ## Generate a crash day, replay it and show the report
	.venv/bin/margin generate --scenario crash --accounts 1000 --symbols 200 --seed 7 build/demo/day
	.venv/bin/margin replay build/demo/day --out build/demo/out
	.venv/bin/margin show build/demo/out --html build/demo/report.html

test: setup ## Run the tests
	.venv/bin/python -m pytest -n 2

check: setup ## Check format, style, types and the import order of the rooms
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## Format the code and fix what can be fixed
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

schemas: setup ## Rewrite schemas/avsc from the record types
	.venv/bin/python -m schemas

clean: ## Remove what was built, but not .venv
	rm -rf build .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
