# Every target is what CI and a new machine run. `make setup` happens by itself.
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export NO_ALBUMENTATIONS_UPDATE := 1
# Whole, so that processes which measure coverage from another folder write it here and nowhere else.
export COVERAGE_FILE := $(CURDIR)/.coverage

.PHONY: setup check test demo fmt clean test-slow test-negative-controls reference bench-tables bench-clothing \
	bench-timm bench-small-data bench-speed bench-time-limit bench-dry-run bench-kill-cost bench-parity \
	bench-attention bench-resume bench-entries bench-decode-speed bench-aspect bench-leak-worth \
	bench-distill-finetune bench-distill-scratch bench-distill-speed bench-unlabelled \
	bench-cost-repeat bench-lr-sweep bench-compare-clothing bench-compare-plan bench-freed-memory

$(STAMP): pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	touch $(STAMP)

setup: $(STAMP)

fmt: $(STAMP)
	$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	PATH=$(VENV)/bin:$$PATH $(VENV)/bin/lint-imports
	$(VENV)/bin/codespell deitft recipes docs tests benchmarks README.md CHANGELOG.md CONTRIBUTING.md

test: $(STAMP)
	$(PY) -m pytest -n 2 --dist worksteal -m 'not slow and not control' --cov --cov-report=term:skip-covered --cov-fail-under=90

test-slow: $(STAMP)
	$(PY) -m pytest -m 'slow and not control'

# Each guard of the fault table is taken away, and a test of its row has to turn red.
test-negative-controls: $(STAMP)
	$(PY) -m pytest -n 2 --dist worksteal -m control

demo: $(STAMP)
	$(PY) benchmarks/demo.py

# Long measurements. Each goes on where it was interrupted; records are in benchmarks/records/, what each asks and
# takes is in benchmarks/README.md. bench-timm and bench-speed want TIMM_SCRIPTS=DIR, the folder of timm's train.py.
bench-tables: $(STAMP)
	$(PY) benchmarks/tables.py

bench-clothing: $(STAMP)
	$(PY) benchmarks/clothing.py

bench-timm: $(STAMP)
	$(PY) benchmarks/timm_baseline.py --timm-scripts "$(TIMM_SCRIPTS)"

bench-small-data: $(STAMP)
	$(PY) benchmarks/small_data.py

bench-speed: $(STAMP)
	$(PY) benchmarks/speed_against_timm.py --timm-scripts "$(TIMM_SCRIPTS)"

bench-time-limit: $(STAMP)
	$(PY) benchmarks/time_limit.py

bench-dry-run: $(STAMP)
	$(PY) benchmarks/dry_run.py

bench-kill-cost: $(STAMP)
	$(PY) benchmarks/kill_cost.py

bench-parity: $(STAMP)
	$(PY) benchmarks/parity.py

bench-attention: $(STAMP)
	$(PY) benchmarks/attention_kernel.py

bench-resume: $(STAMP)
	$(PY) benchmarks/resume_kills.py

bench-entries: $(STAMP)
	$(PY) benchmarks/entries.py

bench-decode-speed: $(STAMP)
	$(PY) benchmarks/decode_speed.py

bench-aspect: $(STAMP)
	$(PY) benchmarks/aspect.py

bench-leak-worth: $(STAMP)
	$(PY) benchmarks/leak_worth.py

bench-distill-finetune: $(STAMP)
	$(PY) benchmarks/distill_finetune.py

bench-distill-scratch: $(STAMP)
	$(PY) benchmarks/distill_scratch.py

bench-unlabelled: $(STAMP)
	$(PY) benchmarks/unlabelled.py

bench-distill-speed: $(STAMP)
	$(PY) benchmarks/distill_speed.py

bench-compare-clothing: $(STAMP)
	$(PY) benchmarks/compare_clothing.py

bench-compare-plan: $(STAMP)
	$(PY) benchmarks/compare_plan.py

bench-freed-memory: $(STAMP)
	$(PY) benchmarks/freed_memory.py

bench-lr-sweep: $(STAMP)
	$(PY) benchmarks/lr_sweep.py

bench-cost-repeat: $(STAMP)
	$(PY) benchmarks/cost_repeat.py

reference: $(STAMP)
	$(PY) docs/generate.py

clean:
	rm -rf $(VENV) build dist *.egg-info
