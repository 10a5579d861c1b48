"""What every command says and how it ends: messages, errors, exit codes, `-v` and `-q`."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import inspect
import io
import json
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from benchmark.cli.groups import spread
from benchmark.core.errors import EXIT_DATA, EXIT_INTERRUPTED, EXIT_MACHINE, BenchError, refusal
from benchmark.core.files import write_atomically
from benchmark.core.schema import SCHEMA_VERSION
from benchmark.core.words import understood

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more: where an error comes from, with its traceback.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only: no progress, no notes.")]
Shown = Annotated[
    str | None,
    typer.Option("--format", help="md: Markdown on a terminal too, as in a pipe; json: as --json."),
]


class Talk:
    """How much is said, for the length of one command."""

    verbose = False
    quiet = False
    markdown = False
    """Tables as Markdown on a terminal too."""

    @classmethod
    def set(cls, verbose: bool, quiet: bool) -> None:
        cls.verbose, cls.quiet, cls.markdown = verbose, quiet and not verbose, False


Command = TypeVar("Command", bound=Callable[..., None])


def handled(command: Command) -> Command:
    """A user's error becomes one message on standard error and its documented exit code. Every command gets the
    options `-v` and `-q`, which may stand before its name too, one option per field of its groups, and with `--json`
    also `--format`, if it has none of its own."""
    parameters, collect = spread(command)
    names = {one.name for one in parameters}
    json_name = next((name for name in ("json_", "json") if name in names), "")
    formats = bool(json_name) and "format_" not in names

    @functools.wraps(command)
    def wrapper(verbose: bool = False, quiet: bool = False, **given: Any) -> None:
        form = given.pop("format_", None) if formats else None
        Talk.set(verbose or Talk.verbose, quiet or Talk.quiet)
        try:
            _need_output()
            form = form and understood("format", form, ("md", "json"))
            Talk.markdown = form == "md"
            if form == "json":
                given[json_name] = True
            command(**collect(given))
            sys.stdout.flush()
        except BenchError as error:
            if Talk.verbose:
                complain(traceback.format_exc().rstrip())
            complain(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:  # `bench table | head`
            _drop_output()
            raise typer.Exit(0) from None
        except (OSError, MemoryError) as error:
            if Talk.verbose:
                complain(traceback.format_exc().rstrip())
            refuse(error)
            raise typer.Exit(EXIT_MACHINE) from None
        except RecursionError:
            complain("error: a file is nested too deeply to be read.")
            raise typer.Exit(EXIT_DATA) from None
        except EOFError as error:  # which Click would take for Ctrl-D
            complain(f"error: a file ends too early ({error}).")
            raise typer.Exit(EXIT_DATA) from None
        except KeyboardInterrupt:
            complain("interrupted.")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    added: dict[str, tuple[Any, Any]] = {"format_": (Shown, None)} if formats else {}
    added |= {"verbose": (Verbose, False), "quiet": (Quiet, False)}
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper  # type: ignore[return-value]


def refuse(error: OSError | MemoryError) -> None:
    """Say what the machine refused; what could not be printed is forgotten."""
    complain(f"error: {refusal(error)}")
    _drop_output()


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
    """A message for a person: standard error; nothing under `-q`."""
    if not Talk.quiet:
        complain(text)


def complain(text: str) -> None:
    """What must be said: an error, a failed run. On a terminal it is broken between words."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(
            textwrap.fill(
                line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
            )
            for line in text.split("\n")
        )
    with contextlib.suppress(OSError):  # nobody hears it: the exit code still tells
        print(text, file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on standard output: an object with `schema_version`; what is a list, however many there
    are, stands under `results`."""
    content = value if isinstance(value, Mapping) else {"results": list(value)}
    print(
        json.dumps(
            {"schema_version": SCHEMA_VERSION, **content}, indent=1, ensure_ascii=False, allow_nan=False
        )
    )


def on_terminal() -> bool:
    """Whether a person looks at standard output, who did not ask for Markdown."""
    return sys.stdout.isatty() and not Talk.markdown


def show(markdown: str) -> None:
    """Markdown on standard output: as it is into a pipe or file, in tables that fit on a terminal."""
    if not on_terminal():
        print(markdown)
        return
    from rich.console import Console

    from benchmark.report import terminal

    terminal.show(markdown, Console(highlight=False, markup=False, emoji=False))


def write_or_print(text: str, out: Path | None, *, as_is: bool = True) -> None:
    """To the file `out`, else to standard output: `as_is`, or for a person to look at."""
    if out is None:
        (print if as_is else show)(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text if text.endswith("\n") else text + "\n")
    say(f"wrote {out}")
