PYTHON ?= python3
SETUP := build/setup.stamp

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-real live bench bench-live chaos outages test check format schemas clean

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP) ## Create .venv and install the package with its pinned dependencies

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e '.[dev]' -c constraints.txt
	@mkdir -p $(@D) && touch $@

demo: setup ## Generate a crash day, replay it and show the report
	.venv/bin/margin generate --scenario crash --accounts 1000 --symbols 200 --seed 7 build/demo/day
	.venv/bin/margin replay build/demo/day --out build/demo/out
	.venv/bin/margin show build/demo/out --html build/demo/report.html

REAL_DATA := ../shared/data/market
REAL_DAYS := 2013-10-04 2013-10-07 2013-10-08 2013-10-09 2013-10-10 2013-10-11 2020-03-16 2008-10-15

demo-real: setup ## Replay real market days (minute bars, crash days) with generated accounts
	@test -d $(REAL_DATA) || { echo "error: demo-real reads real market data from $(REAL_DATA), which is absent" >&2; exit 1; }
	.venv/bin/python -m ops.real build/real/days --data $(REAL_DATA) $(REAL_DAYS)
	@set -e; for day in $(REAL_DAYS); do echo "== $$day"; \
	  .venv/bin/margin replay build/real/days/$$day --out build/real/out/$$day; \
	  .venv/bin/margin show build/real/out/$$day --html build/real/$$day.html; \
	done

live: setup ## Start Kafka, Flink and the live job here, stream a day into it and follow it (Java 17, Maven); ends with: margin down
	.venv/bin/margin up

chaos: setup ## Kill, pause and restart every part of a live run, and compare it with its replay (some twenty minutes)
	.venv/bin/python -W ignore -m tests.chaos

outages: setup ## Break S3, DynamoDB and the archive's writer under a live run, and compare (some twenty minutes)
	.venv/bin/python -W ignore -m tests.outages

bench: setup ## Measure against plain NumPy, textbook Beam and Spark (some ten minutes; Java 17 for Spark)
	.venv/bin/python -m bench.run

bench-live: setup ## Measure a live run of 10,000 accounts: latency, throughput, memory, backlog (some twenty-five minutes)
	.venv/bin/python -W ignore -m bench.live

test: setup ## Run the tests
	.venv/bin/python -m pytest -n 2 --dist loadgroup

ROOMS := schemas risk transforms pipeline runners ops bench tests

check: setup ## Check format, style, types, the import order of the rooms, and that nothing is written twice
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/pylint --score=n $(ROOMS)

format: setup ## Format the code and fix what can be fixed
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

schemas: setup ## Rewrite schemas/avsc from the record types
	.venv/bin/python -m schemas

clean: ## Remove what was built, but not .venv
	rm -rf build .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
