"""`bench new method`, `bench check-method`: a method of one's own, from nothing to its row."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common, output
from benchmark.cli.app import YOURS, Commands
from benchmark.cli.names import one_method
from benchmark.cli.output import handled, say
from benchmark.core.errors import EXIT_CHECK, UsageError

new = typer.Typer(cls=Commands, help="Write a starting file: `bench new method NAME`.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    new.command("method")(new_method)
    new.callback()(lambda: None)  # or a group of one command would lose its name
    app.add_typer(new, name="new", rich_help_panel=YOURS)
    app.command("check-method", rich_help_panel=YOURS)(check_method)


TEMPLATE = '''"""@CLASS@: say here what it computes.

score = w . [mean of the review's word vectors; their product with the mean of the product's]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.model import RankingModel
from benchmark.core.types import Batch, CorpusShape, Items


@dataclass(frozen=True)
class Config:
    """Each field is an option of the command line: --set @NAME@.embedding=32."""

    embedding: int = 64
    """Width of the word vectors."""
    dropout: float = 0.1
    """Share of the scorer's inputs that are zeroed in training."""


class @CLASS@(RankingModel):
    """What the harness needs to know, then the layers and `score`."""

    name = "@NAME@"
    title = "@CLASS@"
    reference = "Authors, venue, year"
    config_class = Config
    quick = {"embedding": 32}
    reads_images = False

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        self.product_words = nn.Embedding(corpus.product_vocabulary, config.embedding, padding_idx=0)
        self.review_words = nn.Embedding(corpus.review_vocabulary, config.embedding, padding_idx=0)
        self.dropout = nn.Dropout(config.dropout)
        self.scorer = nn.Linear(2 * config.embedding, 1)

    def score(self, batch: Batch) -> Tensor:
        """[B]: one score per row; a row is a (product, review) pair."""
        product_BE = _mean(self.product_words, batch.products)[batch.product_B]
        review_BE = _mean(self.review_words, batch.reviews)[batch.review_B]
        both_BE = torch.cat([review_BE, review_BE * product_BE], dim=-1)
        return self.scorer(self.dropout(both_BE)).squeeze(-1)


def _mean(words: nn.Embedding, items: Items) -> Tensor:
    """[N, E]: the mean over each text's own tokens; padding does not count."""
    mask_NT1 = items.token_mask_NT.unsqueeze(-1)
    return (words(items.token_NT) * mask_NT1).sum(1) / mask_NT1.sum(1)
'''


@handled
def new_method(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name on the command line, such as mynet.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write. Default: NAME.py here.")
    ] = None,
    json_: common.Json = False,
) -> None:
    """Write a method that trains as it is; change it from there."""
    from benchmark import models

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{name!r}: a method's name is of a-z, 0-9 and _, and begins with a letter.")
    file = out or Path(f"{name}.py")
    if file.exists():
        raise UsageError(f"{file} exists; it is not written over.")
    if name in models.METHODS:
        raise UsageError(f"{name!r} is the name of a method that is here already; take another.")
    class_name = "".join(part.capitalize() for part in name.split("_"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEMPLATE.replace("@CLASS@", class_name).replace("@NAME@", name), encoding="utf-8")
    target = f"{file}:{class_name}"
    if json_:
        output.print_json({"out": str(file), "method": target})
        return
    print(f"wrote {file}. Next:")
    print(f"  bench check-method {target}")
    print(f"  bench run --dataset lazada --category home --method {target} --seeds 0")


@handled
def check_method(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD", help="path/to/file.py:Class, module:Class or a registered name."),
    ],
    json_: common.Json = False,
) -> None:
    """Check that a method keeps its contract with the harness; exit code 4 if it does not."""
    from benchmark.checks import contract

    name, started = one_method(method), time.perf_counter()
    clauses = []
    for clause in contract.check_method(name):
        clauses.append(clause)
        if not json_:
            print(f"{'FAILED' if clause.problem else 'ok    '} {clause.name}", flush=True)
            if clause.problem:
                print(f"       {clause.problem}", flush=True)
    failed = sum(bool(clause.problem) for clause in clauses)
    if json_:
        output.print_json(
            {"method": name, "clauses": [{"name": one.name, "problem": one.problem} for one in clauses]}
        )
    else:
        say(f"{name}: {failed} of {len(clauses)} failed, in {time.perf_counter() - started:.1f} s")
    if failed:
        raise typer.Exit(EXIT_CHECK)
