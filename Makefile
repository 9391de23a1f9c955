# Each target sets up what it needs in .venv; nothing outside this folder is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test hostile lint man bench clean

demo: $(READY)         ## find the lesions of a real patient, and draw them: demo/patient19_FLAIR.png, _T1w.png
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

clean:
	rm -rf $(VENV) demo build *.egg-info bench.json bench-network.json

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deepbet,register,tensorboard,test,lint]'
	touch $@
