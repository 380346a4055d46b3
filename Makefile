# make train: set up and train on what is there; make test: set up and run all checks; make check:
# the quick ones; make docs: the documentation site, in site/.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: train test check lint docs clean

train: .venv/ready
	$(BIN)/python -m pneumo.train model=tiny

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

check: lint
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and 'Python 3.11 to 3.13 is needed; make PYTHON=python3.12 names one')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
