# What the targets do stands in scripts/tasks.py, which also runs where there is no make.
# TORCH_INDEX=URL takes torch from that index (of CPU builds, say), JOBS=4 runs the suite in four processes,
# PYTHON=python3.13 sets up with that one.
PYTHON ?= python3

.PHONY: demo test check mutants faults docs tables resolve clean

demo test check mutants faults docs tables resolve:
	@$(PYTHON) scripts/tasks.py $@

clean:
	rm -rf .venv build *.egg-info
