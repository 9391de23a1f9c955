# Each target sets up what it needs in .venv; nothing outside this folder is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test hostile lint man bench page-check web web-check dist clean

demo: $(READY)         ## find the lesions of a real patient, and show them: demo/patient19_FLAIR.html, _T1w.html
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh demo

test: $(READY)         ## run all tests, one file after the other on each core (at most eight)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

hostile: $(READY)      ## give the commands thousands of damaged and malicious files, as in docs/reliability.md (about an hour)
	OMP_NUM_THREADS=1 $(BIN)/python experiments/hostile.py --count 400

lint: $(READY)         ## style and types
	$(BIN)/ruff check uadtools tests examples benchmarks experiments
	$(BIN)/ruff format --check uadtools tests examples benchmarks experiments
	$(BIN)/mypy

man: $(READY)          ## write the man pages anew from the commands
	$(BIN)/python man/generate.py

bench: $(READY)        ## time and memory of the commands, and of the network, as in docs/benchmarks.md; also into bench*.json
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/bench.py --json bench.json
	$(BIN)/python benchmarks/bench_network.py --json bench-network.json

page-check: $(READY)   ## the reports against an HTML validator and axe-core; takes npm, node and chromium
	npm install --prefix build/page-check --no-audit --no-fund axe-core@4.14.1 html-validate@10.17.0 puppeteer-core@24.43.1
	$(BIN)/python -m pytest tests/unit/report/test_accessible.py

web: $(READY)          ## build/web/: a page that heals scans in the browser (docs/web.md); takes npm and node
	npm ci --prefix web --no-audit --no-fund
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[export]'
	mkdir -p build/web
	$(BIN)/uad-models export any-small -o build/web/model.onnx --force
	$(BIN)/python web/model.py build/web/model.onnx
	npm run build --prefix web

web-check: web         ## the page in Chromium against uad-run, offline, and against axe-core; takes chromium
	UADTOOLS_WEB_CHECK=1 $(BIN)/python -m pytest tests/web

dist:                  ## build dist/, tell its size, install the wheel in an empty environment, and run the demo there
	rm -rf dist build/dist
	$(PYTHON) -m venv build/dist/tools
	build/dist/tools/bin/python -m pip install --quiet --disable-pip-version-check build
	build/dist/tools/bin/python -m build --outdir dist .
	du -h dist/*
	$(PYTHON) -m venv build/dist/empty
	build/dist/empty/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	PATH="$(CURDIR)/build/dist/empty/bin:$$PATH" sh examples/demo.sh build/dist/demo

clean:
	rm -rf $(VENV) demo build dist web/node_modules *.egg-info bench.json bench-network.json

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deepbet,register,tensorboard,test,lint]'
	touch $@
