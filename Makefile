# Two commands for everybody: `make sweep` and `make test`. Both set up their own environment.
PYTHON ?= python3
VENV := .venv
RUN = $(VENV)/bin/python
NEWEST := .venv-newest
OVERRIDES ?=

.PHONY: sweep test check report install constraints newest clean

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

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

constraints: ## constraints.txt anew: the newest versions that pyproject.toml allows; run the tests with them
	$(PYTHON) -m pip install --dry-run --ignore-installed --quiet --report - '.[dev,cmaes,postgres,slurm,energy]' \
		| $(PYTHON) .ci/requirements.py pin > constraints.new
	mv constraints.new constraints.txt

newest: ## checks and tests with the newest release of every library, upper bounds set aside
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(PYTHON) .ci/requirements.py newest > $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --requirement $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --no-deps --editable .
	touch $(NEWEST)/ready
	$(NEWEST)/bin/python .ci/requirements.py differences
	$(MAKE) check test VENV=$(NEWEST)

clean:
	rm -rf $(VENV) $(NEWEST)
