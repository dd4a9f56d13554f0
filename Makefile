# Two commands do everything:
#   make report VIDEO=path/to/video.mp4    a report about a video (without VIDEO: about a scene rendered here)
#   make test                              the tests
# PYTHON chooses the interpreter (3.10 to 3.13), VENV the environment, OUT the folder of the report.

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= .
VIDEO  ?=
CHROMIUM ?= chromium
# More options for pip, for example a CPU build of torch where the index offers a bigger one:
#   make report PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=

KGVAD := $(VENV)/bin/kgvad
READY := $(VENV)/.ready
SCENE := $(VENV)/scene.mp4

.PHONY: report test setup check docs examples clean

report: $(READY)
	@$(if $(VIDEO),,test -f $(SCENE) || $(KGVAD) demo $(SCENE) >/dev/null)
	@$(KGVAD) weights fetch --offline-set >/dev/null
	@mkdir -p "$(OUT)"
	@$(KGVAD) explain "$(or $(VIDEO),$(SCENE))" --output "$(OUT)/report.md" --output "$(OUT)/report.html"
	@echo "$(abspath $(OUT))/report.md"
	@echo "$(abspath $(OUT))/report.html"

test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n 3 --dist loadscope --no-loadscope-reorder

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	rm -rf build/check && $(VENV)/bin/python -m pip install --quiet --no-deps --target build/check .
	MYPYPATH=build/check $(VENV)/bin/mypy -p kgvad

docs: $(READY)
	$(VENV)/bin/sphinx-build -W --keep-going -q -b html docs build/docs
	@echo "$(abspath build/docs)/index.html"

# The example reports of the documentation, and the picture of one in the README.
examples: $(READY)
	@$(KGVAD) demo docs/examples/scene.mp4 >/dev/null
	@cd docs/examples && $(abspath $(KGVAD)) explain scene.mp4 --encoder efficientnet-lite0 \
	  --output pixels.html --output pixels.md
	@cd docs/examples && $(abspath $(KGVAD)) explain scene.mp4 --captions scene.captions.json \
	  --output captions.html --output captions.md
	@$(CHROMIUM) --headless=new --no-sandbox --hide-scrollbars --window-size=880,1100 --virtual-time-budget=8000 \
	  --screenshot="$(abspath docs/_static/report.png)" "file://$(abspath docs/examples/captions.html)"
	@rm docs/examples/scene.mp4

setup: $(READY)

# An editable install, so that an edited checkout is what runs; remade when the requirements change.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "kgvad needs Python 3.10 to 3.13, and $(PYTHON) is another: make PYTHON=python3.11 ..." >&2; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment; install its venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
