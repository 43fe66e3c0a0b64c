# Two commands, each enough on a machine that has Python 3, make and git: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint check install clean

# everything that tests need, with the optional packages (mmdet, mmseg, diffusers, onnx)
install: $(VENV)/.installed-dev

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

# a teacher, a student alone and a distilled student on handwritten digits; ends in a table and a PNG of the curves
demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

test: install
	$(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff check .

check: install
	$(BIN)/python tools/check_zoo.py

clean:
	rm -rf $(VENV) build dist *.egg-info
