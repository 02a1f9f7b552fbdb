# pixstored: `make run` tries it, `make test` tests it. Both need Python 3.11 or newer with its venv module.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test
# Most tests wait for files to settle, not for the processor: more of them than cores.
JOBS   ?= 6

.PHONY: run test lint bench soak clean

run: $(STAMP)
	$(BIN)/pixstored -c config.example.yaml run

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not soak" $(PYTEST_ARGS)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(TEST_STAMP)
	$(BIN)/python tests/bench/bench.py $(BENCH_ARGS)

soak: $(TEST_STAMP)
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) .pixstored build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pixstored needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(TEST_STAMP): pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@ $(STAMP)
