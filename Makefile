# The few commands of this checkout; the work is in .ci/ (set-up, demo, test) and in Python.
#
# VENV=dir         where the virtual environment is (default: .venv)
# PYTHON=program   what to make it with (default: the system's Python 3.11 or newer)
# MINIBUILD_ROOT   where images, snapshots and the cache are kept

VENV ?= $(CURDIR)/.venv
CONFORMANCE ?= ../shared/conformance
ARGS ?=
export VENV PYTHON MAKECMDGOALS

.PHONY: help demo test check lint format conformance bench install install-dev dist clean
.DEFAULT_GOAL := help

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: install ## build the reproduction of moby/buildkit pull request 4516, look at it, run it
	@.ci/demo

test: install-dev ## linters, types and all tests, as root and as ordinary users where it can
	@.ci/test $(ARGS)

check: install-dev ## linters, types and the tests that ask nothing of the machine (under a minute)
	@.ci/check $(ARGS)

lint: install-dev ## ruff and mypy alone
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

format: install-dev ## put every Python file into the one layout
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

conformance: install ## the conformance suite in CONFORMANCE=dir; ARGS='--area copy --verbose'
	@if [ -e "$(CONFORMANCE)/conformance.py" ]; then \
	    $(VENV)/bin/python "$(CONFORMANCE)/conformance.py" --builder "$(VENV)/bin/minibuild" $(ARGS); \
	else \
	    echo "no conformance suite in $(CONFORMANCE): say where it is with CONFORMANCE=dir"; \
	fi

bench: install-dev ## time all workloads into bench/RESULTS.md (25 minutes); ARGS=--help says more
	@$(VENV)/bin/python -m bench $(or $(ARGS),--results bench)

install: ## the virtual environment with minibuild
	@.ci/setup run

install-dev: ## the same with what tests need
	@.ci/setup dev

dist: install ## a wheel and an sdist in dist/, the same bytes each time
	@.ci/dist

clean: ## remove what was made here; the image store stays
	rm -rf .venv build dist minibuild.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
