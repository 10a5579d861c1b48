"""What the comparison itself leaves open, whatever the method: objective, pairs, metrics, budget, inputs."""

from __future__ import annotations

from benchmark.core.decisions import Decision, Option, register

DECISIONS = (
    Decision(
        "D-MARGIN",
        "Is the hinge's margin fixed or the difference of the labels?",
        "4.5, Eq. 13 and A.2 (margin 1); the released code of MCR and MCL uses the label gap",
        (
            Option("hinge", "fixed margin 1, as published"),
            Option("label-gap", "the label difference, as released"),
            Option("point", "no pairs: binary cross-entropy on label > t, the text-only releases"),
        ),
        "The published form; a label-gap margin alone can favour NDCG (defect P10).",
        ("train.loss",),
        "protocol",
    ),
    Decision(
        "D-GAP",
        "How far below the positive's label must a negative's be?",
        "training pairs; every released configuration requires a gap of 2 or more",
        (
            Option(0, "any lower label"),
            Option(1, "more than 1 below, the released value"),
        ),
        "Eq. 13 asks for a higher score only, and with a gap of 1 most reviews are never seen: products with two "
        "labels give no pair. Dev MAP, mean of MM-SS, MCL and Conv-KNRM in the quick preset, five seeds each, 1 "
        "negative: 81.1 with gap 0 and 79.6 with gap 1 on `mini` (Lazada electronics; MM-SS 87.5 and 84.7, MCL 82.6 "
        "and 80.7, Conv-KNRM 73.3 and 73.4), 64.9 and 64.2 on real reviews (Amazon phone accessories; MM-SS 66.0 and "
        "66.2, MCL 64.5 and 62.8, Conv-KNRM 64.2 and 63.6). The same for every method; `released` keeps 1.",
        ("train.label_gap",),
        "protocol",
        open_ended="number",
        minimum=0,
    ),
    Decision(
        "D-NEGWEIGHT",
        "How are negatives drawn?",
        "training pairs",
        (
            Option(True, "with probability 1 - share of their label in the training set, as released"),
            Option(False, "uniformly"),
        ),
        "As released.",
        ("train.weighted_negatives",),
        "protocol",
    ),
    Decision(
        "D-THRESHOLD",
        "Above which label is a review relevant?",
        "5.1; the released evaluation uses 0 for Lazada and 1 for Amazon and the papers do not say so",
        (
            Option(0, "labels 1 to 4 are relevant"),
            Option(1, "labels 2 to 4: the released value for Amazon"),
        ),
        "One rule for both data sets, with the attainable ceiling printed beside it.",
        ("train.relevance_threshold",),
        "protocol",
        open_ended="number",
        minimum=0,
    ),
    Decision(
        "D-TIES",
        "How are tied scores ranked?",
        "metrics (defect P25: a stable sort lets the file's order through)",
        (
            Option("expected", "the exact mean over all orders of the tied reviews"),
            Option("file-order", "a stable sort, as released"),
        ),
        "A constant scorer must get what a random order gets.",
        scope="protocol",
        how="metrics are stored with `expected`; `bench stats --robust` shows the other",
    ),
    Decision(
        "D-BUDGET",
        "Does every method get the same budget?",
        "the released settings differ in negatives, passes, losses and rates (defects P9, P10)",
        (
            Option("fair", "one budget for all; early stopping and selection on dev MAP"),
            Option("released", "each method's released settings, without selecting on test"),
        ),
        "A comparison of methods, not of budgets.",
        scope="protocol",
        how="--protocol",
    ),
    Decision(
        "D-EMPTY",
        "What becomes of a review whose text is empty after tokenising?",
        "inputs (defect P24: the released loaders drop it, in test too)",
        (Option("unknown-token", "it stays, as a single unknown token"),),
        "The evaluated set must not depend on a method's tokenizer.",
        scope="protocol",
        how="fixed",
    ),
    Decision(
        "D-MINFREQ",
        "Which words enter the vocabulary?",
        "inputs",
        (Option(5, "words seen at least 5 times in a field of the training split; others are deleted"),),
        "As released.",
        scope="protocol",
        how="fixed",
    ),
    Decision(
        "D-VECTORS",
        "Which word vectors do methods without BERT start from?",
        "5.2; fastText for Lazada and GloVe for Amazon in the released code",
        (
            Option("random", "random ones, drawn per word; the tables say so"),
            Option("file", "pre-trained ones from a text file"),
        ),
        "The files are large and not ours to ship.",
        scope="protocol",
        how="--vectors FILE",
    ),
)

register(__name__, DECISIONS)
