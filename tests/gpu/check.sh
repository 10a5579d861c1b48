#!/bin/sh
# Check and time the CUDA side on a machine with a GPU, from a bare checkout, in under 8 minutes:
#
#     tests/gpu/check.sh [options of check.py, such as --out FILE]
#
# Uses the Python that is there if it has everything; else a virtual environment in .venv-gpu, on top of a torch that
# already works with CUDA, or with the torch of constraints.txt. PYTHON names another Python; pip's own variables
# (PIP_NO_INDEX, PIP_FIND_LINKS, ...) say where packages come from.
set -eu
started=$(date +%s)
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"  # encoders are not fetched: one of the same size stands in

has_cuda() { "$1" -c 'import torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null; }
has_all() {
    "$1" -c 'import duckdb, joblib, nltk, numpy, pandas, regex, safetensors, scipy, tabulate, threadpoolctl
import tokenizers, transformers, typer, rich, jinja2' 2>/dev/null
}

if ! { has_cuda "$python" && has_all "$python"; }; then
    env=.venv-gpu
    if has_cuda "$python"; then
        "$python" -m venv --system-site-packages "$env"
        # everything as pinned, but for the torch that is there
        grep -v -i -E '^(torch|numpy)==' constraints.txt > "$env/constraints.txt"
    else
        "$python" -m venv "$env"
        cp constraints.txt "$env/constraints.txt"
    fi
    "$env/bin/python" -m pip install --quiet -c "$env/constraints.txt" -e .
    python="$env/bin/python"
    has_cuda "$python" || { echo "torch finds no GPU it can use (see nvidia-smi)" >&2; exit 1; }
fi
left=$((470 - ($(date +%s) - started)))
exec "$python" tests/gpu/check.py --limit "$left" "$@"
