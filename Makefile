# make demo   set up, compare the families on the bundled digits, print the path of the report
# make test   set up, run the whole test suite
# make docs   set up, run the code of docs/pages and write docs/guide
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test lint quality docs clean

demo: $(READY)
	$(BIN)/ectype compare digits --out ectype-out/digits

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check src tests bench docs

quality: $(READY)
	$(BIN)/python -m bench.quality

docs: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python docs/build.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv ectype-out build src/*.egg-info
