# Two commands for everybody: `make sweep` and `make test`. Both set up their own environment.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
OVERRIDES ?=

.PHONY: sweep test check report install clean

# The built-in model leaves room for two trials at a time on whatever there is.
sweep: $(VENV)/ready ## tune, compare and report on the built-in model and data
	$(RUN) -m harness.sweep sweep=compare launcher.workers=2 $(OVERRIDES)

# Many processes import the package: its bytecode is kept, whatever the shell says.
test: $(VENV)/ready ## the whole test suite
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/ready ## lint, format, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(RUN)

report: $(VENV)/ready ## the report again, from the records alone: make report RUN_FOLDER=runs/NAME
	$(RUN) -m harness.report $(RUN_FOLDER)

install: $(VENV)/ready

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
