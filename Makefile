# Two commands: `make run` opens the workbench, `make test` passes every test. Each makes the environment it needs.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: run test check lint types imports faults mutants clean

run: $(VENV)/.installed
	$(BIN)/tinytui demo

# what is compiled once is kept: hundreds of programs are started
test: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist worksteal

# every promise of docs/reliability.md tried as often as its table says, and each property on all its examples; hours, and
# the machine to itself
faults: $(VENV)/.installed-dev
	rm -f build/faults.jsonl && mkdir -p build
	-FAULTS=whole FAULTS_REPORT=$(CURDIR)/build/faults.jsonl $(BIN)/python -m pytest tests/faults tests/cuda/test_pretended.py tests/engine/training/test_compile.py tests/engine/training/test_ranks.py tests/tui/cli/test_cli_nproc.py tests/tui/screens/test_ranks_shown.py tests/tui/serve
	$(BIN)/python -m tests.faults.report build/faults.jsonl
	FAULTS=whole $(BIN)/python -m pytest -m hypothesis

# 200 small changes of the engine, each of which a test should notice; SEED draws them anew
mutants: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/python -m tests.faults.mutants --count 200 $(if $(SEED),--seed $(SEED))

check: lint types imports

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tinytui needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

# torch first and alone: pinned by constraints.txt, so that nothing larger than this machine needs is fetched
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
