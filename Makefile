# Commands of this repository; `make help` lists them. Each sets up .venv by itself on first use.
# All paths are relative, so that the checkout may lie in a folder with spaces in its name.
PYTHON ?= python3
PROFILE :=
NB :=
SEED :=
ARGS :=
PY := .venv/bin/python
STAMP := .venv/.complete
# --nb 01 --nb 04 ..., --profile ci, --seed 3: only what was given
WHICH = $(foreach n,$(NB),--nb "$(n)") $(if $(PROFILE),--profile "$(PROFILE)") $(if $(SEED),--seed "$(SEED)")

.PHONY: help run test test-all mutants environments lab site render baselines fresh results judges bench mark lint
.DEFAULT_GOAL := help

help:  ## this list
	@echo "make TARGET [NB=04] [PROFILE=ci|laptop|full] [SEED=0] [ARGS='...']"
	@sed -n 's/^\([a-z-]*\):.*##/  \1\t/p' Makefile

run: $(STAMP)  ## execute the notebooks; copies, pictures and a summary in build/
	@$(PY) notebooks/run.py $(WHICH) $(ARGS)

test: $(STAMP)  ## the checks of library, repository, notebooks (by nbval and by papermill), solutions and site
	@$(PY) -m pytest tests notebooks --nbval-lax -m "not slow" $(ARGS)

test-all: $(STAMP)  ## the same and what is slow: JupyterLab in a browser (pictures in build/lab/), planted mistakes, faults
	@$(PY) -m pytest tests notebooks --nbval-lax $(ARGS)

mutants: $(STAMP)  ## small mistakes in the library, one at a time: how many do the tests catch; an hour of two cores
	@$(PY) tests/mutants.py $(ARGS)

environments: $(STAMP)  ## the library's tests on the oldest and newest versions admitted, and on newer Pythons; 25 GB
	@$(PY) tests/environments.py $(ARGS)

lab: $(STAMP)  ## open the notebooks in JupyterLab
	@$(PY) -m jupyterlab --notebook-dir=notebooks $(ARGS)

site: $(STAMP)  ## the notebooks as a static site in build/site/, from the committed outputs; needs no network
	@$(PY) site/build.py

render: $(STAMP)  ## execute the committed notebooks again and store their outputs
	@$(PY) notebooks/render.py $(foreach n,$(NB),--nb "$(n)") $(ARGS)

results: $(STAMP)  ## many-seed runs into notebooks/results/ and README's tables (resumes where it stopped)
	@$(PY) notebooks/results.py $(WHICH) $(ARGS)

baselines: $(STAMP)  ## expected bands of every metric, from the seeds of ci and laptop, on purpose
	@$(PY) notebooks/results.py --baselines $(foreach n,$(NB),--nb "$(n)") $(ARGS)

fresh: $(STAMP)  ## five seeds that made no band: how many of their numbers lie inside
	@$(PY) notebooks/results.py --fresh $(WHICH) $(ARGS)

judges: $(STAMP)  ## train the classifiers that judge samples again
	@$(PY) -m cvae_lib.judges.train $(ARGS)

bench: $(STAMP)  ## fit beside the loop of tutorials, timed in turn, into build/bench.json; quiet machine, ten minutes
	@$(PY) notebooks/bench.py $(ARGS)

mark: $(STAMP)  ## mark handed-in notebooks by their exercises: make mark ARGS="handed_in/*.ipynb"
	@$(PY) notebooks/mark.py $(ARGS)

lint: $(STAMP)  ## ruff on .py and .ipynb
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up .venv (once, some minutes: torch is large) from pyproject.toml and constraints.txt"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e ".[notebooks,dev,site]"
	@touch $(STAMP)
	@echo "Ready: $$($(PY) --version), in .venv"
