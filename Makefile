# ftheta: `make demo` trains a language model on this machine, `make test` checks the project.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint page bench clean

$(VENV)/core.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev.done: $(VENV)/core.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/core.done
	$(BIN)/ftheta run python-lm
	$(BIN)/ftheta generate runs/python-lm/model "def " --most 80

# Two test processes share the cores: idle threads sleep instead of spinning.
test test-all: export OMP_WAIT_POLICY = PASSIVE
test test-all: export GOMP_SPINCOUNT = 0

test: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/dev.done
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python

# The page of `ftheta ui`, from page/ into the package (needs node).
page:
	cd page && npm ci --ignore-scripts --no-audit --no-fund && npm run build

bench: $(VENV)/dev.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	for name in training time_to_loss checkpoints startup plan; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) runs
