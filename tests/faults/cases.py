"""A bad input, and how what `bench` makes of it is judged: a message and a documented code, no traceback, no hang."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from typer.testing import CliRunner

from benchmark.cli import app

DOCUMENTED = {0, 1, 2, 3, 4, 5, 75, 130}
SECONDS = 60
"""Of processor time; and ten times as long in all, so that a busy machine is no fault of an input's."""
PATIENCE = 10


@dataclass(frozen=True)
class Case:
    """`command(place)` puts the input into the empty folder `place` and returns the words after `bench`."""

    kind: str
    name: str
    command: Callable[[Path], list[str]]
    code: int | tuple[int, ...]
    says: str | tuple[str, ...] = ()
    """What the output must name: a file, an option, a column."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


class HangError(BaseException):
    """Past its time; not an Exception, so that nothing on the way takes it for one."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise HangError

    clocks = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE * seconds),
    }
    before = {number: signal.signal(number, end) for number in clocks}
    for clock, limit in clocks.values():
        signal.setitimer(clock, limit)
    try:
        yield
    finally:
        for clock, _ in clocks.values():
            signal.setitimer(clock, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Verdict:
    case: Case
    fault: str
    """Empty if all is as it should be."""
    code: int | None
    output: str
    seconds: float


def judge(case: Case, place: Path, seconds: float = SECONDS) -> Verdict:
    """Carries out the command of a case in this process."""
    place.mkdir(parents=True)
    words = case.command(place)
    started = time.monotonic()
    try:
        with limited(seconds):
            result = CliRunner().invoke(app, words)
    except HangError:
        return Verdict(
            case,
            f"hangs (more than {seconds:g} s of processor time, or {PATIENCE * seconds:g} s)",
            None,
            "",
            seconds,
        )
    output = result.stdout + result.stderr
    fault = fault_of(case, result.exit_code, output, result.exception)
    return Verdict(case, fault, result.exit_code, output, time.monotonic() - started)


def fault_of(case: Case, code: int, output: str, exception: BaseException | None) -> str:
    allowed = case.code if isinstance(case.code, tuple) else (case.code,)
    says = case.says if isinstance(case.says, tuple) else (case.says,)
    if exception is not None and not isinstance(exception, SystemExit):
        return f"a traceback ({type(exception).__name__}: {str(exception)[:200]})"
    if "Traceback" in output:
        return "a traceback"
    if code not in DOCUMENTED or code not in allowed:
        return f"code {code}, not {' or '.join(map(str, allowed))}"
    missing = [word for word in says if word not in output]
    if missing:
        return f"does not name {missing}"
    if code and not output.strip():
        return "says nothing"
    return "too long a message" if len(output) > 100_000 else ""


def import_words(place: Path, *files: str) -> list[str]:
    """The command that imports these files (and options) into the place."""
    return ["data", "import", *files, "--out", str(place / "out"), "--name", "shop", "--language", "en"]


def zipped(entries: dict[str, bytes]) -> bytes:
    import zipfile

    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return held.getvalue()
