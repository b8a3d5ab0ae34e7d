# Everything here works from a bare clone: the first target that needs it makes .venv.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-long corpus lint format docs bench wheel wheel-check wheel-slim wheel-torch clean

demo: .venv/ready            ## make data, train, evaluate, predict: about 5 minutes on two cores
	$(BIN)/videozoo demo --out runs/demo

test: .venv/ready            ## the default suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4

test-long: .venv/ready       ## what takes minutes: ONNX equality, real kills, several processes, learning
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m long -n 2 --dist loadscope --durations=20

corpus: .venv/ready          ## decode every file of a folder in child processes: real clips, else made ones
	rm -rf build/corpus && mkdir -p build
	if [ -d ../shared/data/clips ]; then cp -r ../shared/data/clips build/corpus && chmod -R u+w build/corpus; fi
	$(BIN)/python -m tests.corpus build/corpus $$([ -d build/corpus ] || echo --generate)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/ready            ## the documentation as a site in site/
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# those that need nothing; the others ask for a run, annotations or another library, see their first lines
BENCHMARKS := boundary_matching decode gap isolation localization_metrics nextvlad opening shift multigrid soak_resume

bench: .venv/ready           ## benchmarks, each a ratio in one run
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

wheel-check: wheel-slim wheel-torch  ## both forms of the wheel, each alone in an environment of its own

wheel: .venv/ready           ## build the wheel into dist/
	rm -rf dist
	$(BIN)/uv build -q --wheel --python $(BIN)/python

wheel-slim wheel-torch: wheel ## install it with the newest dependencies for PYTHON, test it away from the checkout
	.ci/wheel $(@:wheel-%=%) $(PYTHON)

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[dev]'
	touch .venv/ready

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache
