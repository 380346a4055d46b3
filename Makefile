# make train: set up and train on what is there; make test: set up and run all checks; make check:
# the quick ones.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: train test check clean

train: .venv/ready
	$(BIN)/python -m pneumo.train model=tiny

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and 'Python 3.11 to 3.13 is needed; make PYTHON=python3.12 names one')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
