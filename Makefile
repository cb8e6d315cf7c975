.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PINNED := pyproject.toml $(wildcard requirements*.txt)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 \
	--no-emit-index-url --no-header --generate-hashes
export PYTHON
BROKER ?= light
export BROKER

.NOTPARALLEL:
.PHONY: help demo up show down test test-long test-faults check format bench bench-long quality pictures schema lock clean

help: ## list what make can do
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@printf '\n%s\n%s\n%s\n' 'Ports of make up: STACK_DATABASE_PORT (5432), STACK_BROKER_PORT (9092),' \
		'TOCSIN_API_PORT (8000). To choose another: make up TOCSIN_API_PORT=8001' \
		'Broker of demo, up and test: BROKER=light (in memory) or BROKER=kafka (Apache Kafka).'

demo: root-for-demo .venv/installed-run ## play the main job: history, a burst of errors, the incident
	@$(BIN)/tocsin demo

up: root-for-up .venv/installed-run ## run servers, API and flow until Ctrl-C; print URLs and credentials
	@$(BIN)/python -m stack up

show: .venv/installed-run ## print the URLs and credentials of `make up` again
	@$(BIN)/python -m stack show

down: .venv/installed-run ## stop what `make up` left running and delete its data
	@$(BIN)/python -m stack down

test: root-for-test .venv/installed-dev ## run all tests on real servers, in several processes; ARGS="-k name" for some
	@REQUIRE_SERVICES=1 $(BIN)/pytest -n auto --maxprocesses=4 --dist=worksteal $(ARGS)

test-long: root-for-test .venv/installed-dev ## run the tests that take minutes each
	@REQUIRE_SERVICES=1 $(BIN)/pytest -m long $(ARGS)

test-faults: root-for-test .venv/installed-dev ## kill, stop and hang everything for an hour; print what was lost
	@REQUIRE_SERVICES=1 $(BIN)/pytest -m faults_long tests/faults $(ARGS)

check: .venv/installed-dev ## lint, format, types, import contracts, compose and workflow schemas
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: .venv/installed-dev ## format the code and apply safe fixes
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --quiet --fix

bench: root-for-bench .venv/installed-dev ## measure rates, times and memory beside their limits; ARGS="http-single" for some
	@$(BIN)/python -m bench $(ARGS)

bench-long: root-for-bench .venv/installed-dev ## measure what takes an hour each
	@$(BIN)/python -m bench --long $(ARGS)

quality: .venv/installed-dev ## score the detection on the recorded week, beside the literal rule
	@$(BIN)/python -m bench.quality

pictures: .venv/installed-dev ## draw the pictures of docs/detection.md again
	@$(BIN)/python -m bench.pictures

schema: root-for-schema .venv/installed-dev ## write docs/schema.md again, from the comments of the database
	@$(BIN)/python -m stack.schema_page

lock: .venv/installed-dev ## pin the dependencies anew; UPGRADE=--upgrade for the newest
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/pip install --quiet uv
	@$(COMPILE) $(UPGRADE) pyproject.toml -o requirements.txt
	@$(COMPILE) $(UPGRADE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) $(UPGRADE) --group stack -c requirements-dev.txt -o requirements-stack.txt

clean: ## delete the data of `make up`, .venv, caches and the results of `make bench`
	@if [ -e .tocsin/state.json ]; then $(MAKE) --no-print-directory down; fi
	@echo "clean | deleting .venv, caches and results"
	@rm -rf .tocsin .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache bench/results
	@find . -name __pycache__ -prune -exec rm -rf {} +

# What needs root is refused first, before anything is installed.
root-for-%:
	@stack/require-root $* $(ARGS)

.venv/installed-%: $(PINNED)
	@stack/bootstrap $*
