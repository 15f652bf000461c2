# Every target is what CI and a new machine run. `make setup` happens by itself.
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: setup check test demo fmt clean test-slow reference bench-clothing bench-attention bench-resume bench-entries

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
	$(PY) -m pytest -n 2 -m 'not slow' --cov --cov-report=term:skip-covered --cov-fail-under=90

test-slow: $(STAMP)
	$(PY) -m pytest -m slow

demo: $(STAMP)
	$(PY) benchmarks/demo.py

# Long measurements. Each goes on where it was interrupted; records are in benchmarks/records/.
bench-clothing: $(STAMP)
	$(PY) benchmarks/clothing.py

bench-attention: $(STAMP)
	$(PY) benchmarks/attention_kernel.py

bench-resume: $(STAMP)
	$(PY) benchmarks/resume_kills.py

bench-entries: $(STAMP)
	$(PY) benchmarks/entries.py

reference: $(STAMP)
	$(PY) docs/generate.py

clean:
	rm -rf $(VENV) build dist *.egg-info
