"""What the commands share: options, error handling, printing."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from benchmark import __version__
from benchmark.core import words
from benchmark.core.errors import EXIT_DATA, EXIT_INTERRUPTED, EXIT_MACHINE, BenchError, UsageError, refusal
from benchmark.core.files import write_atomically
from benchmark.engine.plan import PARTS

app = typer.Typer(
    name="bench",
    help="Train and compare methods for multimodal review helpfulness prediction; make the paper's tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    epilog="Exit codes: 0 done, 1 a run failed, 2 usage, 3 data missing or invalid, 4 a check failed, "
    "5 the machine said no, 130 interrupted.",
)


def _version(shown: bool) -> None:
    if shown:
        print(f"mrhp-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


Command = TypeVar("Command", bound=Callable[..., None])


def handled(command: Command) -> Command:
    """A user's error becomes one message on standard error and its documented exit code."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            _need_output()
            command(*args, **kwargs)
            sys.stdout.flush()
        except BenchError as error:
            say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:  # `bench table | head`
            _drop_output()
            raise typer.Exit(0) from None
        except (OSError, MemoryError) as error:
            say(f"error: {refusal(error)}")
            _drop_output()
            raise typer.Exit(EXIT_MACHINE) from None
        except RecursionError:
            say("error: a file is nested too deeply to be read.")
            raise typer.Exit(EXIT_DATA) from None
        except KeyboardInterrupt:
            say("interrupted.")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return wrapper  # type: ignore[return-value]


def _need_output() -> None:
    """OSError if standard output is closed: results would be lost, or land in whatever file is opened next."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed (> /dev/null drops what is printed)")


def _drop_output() -> None:
    """What could not be printed is forgotten: no second complaint when Python flushes at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # captured by a test, or closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_PLAINER = {"±": "+/-", "–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "’": "'", "≥": ">=", "≤": "<="}


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Of characters that an output cannot encode: something plainer, else their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAINER.get(c, f"\\u{ord(c):04x}") for c in letters), error.end


def prepare_output() -> None:
    """Standard output takes any text, whatever its encoding; a closed standard error gets a place of its own,
    so that nothing which is written to it lands in a file."""
    codecs.register_error("plainer", _plainer)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plainer")


def say(text: str) -> None:
    """A message for a person: standard error."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def write_or_print(text: str, out: Path | None) -> None:
    """To the file `out`, else to standard output."""
    if out is None:
        print(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text if text.endswith("\n") else text + "\n")
    say(f"wrote {out}")


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of the run folders.")]
DEFAULT_RESULTS = Path("results")
DataRoot = Annotated[
    Path | None,
    typer.Option("--data", metavar="ROOT", help="Root of a release; without it the embedded corpus `mini`."),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        metavar="D",
        help="lazada, amazon, or that of the root's dataset.toml; repeatable. Default: all.",
    ),
]
Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        metavar="C",
        help="clothing, electronics, home, or as in the root's dataset.toml; repeatable.",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="M",
        help="See `bench models`, or FILE.py:Class; repeatable. Default: the paper's nine.",
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", metavar="LIST", help="Seeds, such as 0,1,2 or 0-4.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="quick (small, for a CPU) or paper (full size). Default: quick."),
]
Protocol = Annotated[
    str,
    typer.Option("--protocol", help="fair (one budget, masked models) or released (per-method settings)."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a configuration field; repeatable. See `bench models`."
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, metavar="N", help="Runs side by side. Default: one per core.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Vectors = Annotated[
    Path | None,
    typer.Option(
        "--vectors", metavar="FILE", help="Word vectors: fastText .vec or GloVe .txt. Default: random ones."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Where packed data is kept. Default: $MRHP_BENCH_CACHE or the user's cache folder.",
    ),
]
Threshold = Annotated[
    int | None,
    typer.Option(
        "--threshold",
        metavar="T",
        help="Recompute the metrics with label > T as relevant. Default: as the runs were evaluated.",
    ),
]
Ties = Annotated[
    str,
    typer.Option("--ties", help="Tied scores: expected (mean over their orders) or file-order."),
]


def pick(kind: str, chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The chosen names in the registry's order, each once; all if none was chosen."""
    for name in chosen:
        words.check_choice(kind, name, known)
    return tuple(name for name in known if not chosen or name in chosen)


def pick_data(
    root: Path | None,
    datasets: Sequence[str] | None,
    categories: Sequence[str] | None,
    *,
    first: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The chosen names of data sets and categories, checked against what a root knows; all if none was chosen
    (with `first`, of the categories only the first of each data set, as the paper's ablation takes)."""
    from benchmark.data.datasets import categories_of, known

    data_sets = known(root)
    names = pick("dataset", datasets or (), tuple(data_sets))
    chosen = [data_sets[name] for name in names]
    if first and not categories:
        categories = [data_set.category_names[0] for data_set in chosen]
    return names, pick("category", categories or (), categories_of(chosen))


def pick_stored(datasets: Sequence[str] | None, found: Iterable[str]) -> tuple[str, ...]:
    """The chosen names of data sets, checked against the paper's and those that results hold; all of these if
    none was chosen."""
    from benchmark.data.datasets import BUILT_IN, rank

    return pick("dataset", datasets or (), sorted({*BUILT_IN, *found}, key=rank))


MOST_SEEDS = 1000


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` or `0-4` -> seeds, each once, in order."""
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        try:
            chosen = range(int(low), int(high) + 1) if dash else range(int(low), int(low) + 1)
            if chosen.stop - chosen.start > MOST_SEEDS:
                raise UsageError(f"--seeds {text[:80]!r} names more than {MOST_SEEDS:,} seeds.")
        except ValueError:
            raise UsageError(f"--seeds takes numbers such as 0,1,2 or 0-4, not {text[:80]!r}.") from None
        if chosen and chosen[-1] >= 2**63:
            raise UsageError("--seeds: a seed is below 2^63.")
        seeds += chosen
        if len(seeds) > MOST_SEEDS:
            raise UsageError(f"--seeds {text[:80]!r} names more than {MOST_SEEDS:,} seeds.")
    if not seeds:
        raise UsageError(f"--seeds {text[:80]!r} names no seed.")
    return tuple(dict.fromkeys(seeds))


def parse_drops(drops: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """`["ptrt", "rtrv"]` -> one ablation each; `all` -> the paper's seven; `ptrt+rtrv` drops both at once."""
    chosen: list[tuple[str, ...]] = []
    for drop in drops:
        if drop == "all":
            chosen += [(part,) for part in PARTS]
            continue
        names = drop.split("+")
        for name in names:
            words.check_choice("part to drop", name, (*PARTS, "all"))
        chosen.append(tuple(part for part in PARTS if part in names))
    return tuple(dict.fromkeys(chosen))
