#!/bin/sh
# Write results/tables from the finished runs in results/. The first argument is the bench command to use.
set -eu
cd "$(dirname "$0")/.."
bench=${1:-bench}
for dataset in lazada amazon; do
    "$bench" table --dataset "$dataset" --out "results/tables/$dataset.md"
    "$bench" stats --dataset "$dataset" > "results/tables/stats-$dataset.md"
done
"$bench" table --statistics --out results/tables/statistics.md
"$bench" table --ablation --out results/tables/ablation.md
