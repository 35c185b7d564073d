# make demo and make test are all the set-up there is; both make and use .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check docs format recipe benchmark mutants clean

help:
	@echo "make demo       train and predict on bundled material (a minute or two on 2 cores), then see demo/run/report.html"
	@echo "make test       all tests; the last line says which were skipped, and why"
	@echo "make check      ruff and mypy"
	@echo "make docs       the site, in build/site/index.html; first renews the pages of measurements and presets"
	@echo "make recipe     NAME=... DATA=... [WEIGHTS=...] [SEED=0]: re-run a recipe and write recipes/results/"
	@echo "make benchmark  NAME=... ARGS=...: a benchmark of benchmarks/, each says what it needs"
	@echo "make mutants    small changes to a2s and to both stages of the training that the tests should notice (hours)"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(READY)
	$(BIN)/act2sal demo --out demo

test: $(READY)
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python docs/make_pages.py
	$(BIN)/python docs/make_presets.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "build/site/index.html"

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

SEED ?= 0
recipe: $(READY)
	$(BIN)/python recipes/run.py $(NAME) --data $(DATA) $(if $(WEIGHTS),--weights $(WEIGHTS)) --seed $(SEED)

benchmark: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)

mutants: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[mutants]"
	OMP_NUM_THREADS=1 nice -n 15 $(BIN)/python -m mutmut run --max-children 1
	$(BIN)/python tests/mutants/summary.py > tests/mutants/result.json

clean:
	rm -rf $(VENV) demo build dist mutants
