"""Absurd options: each is refused before anything is read, trained or written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.bad_data import NO_FILES
from tests.faults.cases import Case
from tests.fixtures_release import write_release
from tests.fixtures_runs import write_run

SEEDS = (
    "",
    ",",
    "-1",
    "a",
    "0-",
    "0-99999999",
    "9" * 400,
    "0-" + "9" * 400,
    "5-1",
    "1.5",
    "0,,1",
    "\ud83d",
    "0x1",
)
SETS = (
    "",
    "x",
    "=",
    "=1",
    "epochs",
    "epochs=",
    "epochs=many",
    "epochs=-1",
    "epochs=1e400",
    "epochs=" + "9" * 400,
    "learning_rate=nan",
    "learning_rate=-1",
    "model.nothing=1",
    "train.nothing=1",
    "mcr.hidden_size=" + "[" * 1_000,
    "train.precision=float3",
    "batch_size=0",
)
CHOICES: dict[str, tuple[str, ...]] = {
    "--method": ("mcrr", "", "all", "m" * 5_000, "\ud83d"),
    "--dataset": ("amazn", "", "../x", "d" * 5_000),
    "--category": ("hom", "", "\0"),
    "--preset": ("fast", ""),
    "--protocol": ("unfair", ""),
    "--device": ("gpu", "cuda", "cuda:99", ""),
    "--precision": ("float8", ""),
    "--jobs": ("0", "-1", "many", "1.5", "9" * 400),
    "--timeout": ("0", "-5", "soon", "nan"),
    "--checkpoint-every": ("-1", "often", "nan"),
}


def _run(*words: str) -> Callable[[Path], list[str]]:
    def command(place: Path) -> list[str]:
        root = write_release(place / "release", products=2, reviews=3, images=False)
        base = ["run", "--data", str(root), "--dataset", "amazon", "--cache", str(place / "cache")]
        return [*base, "--dry-run", "--results", str(place / "results"), *words]

    return command


def run_options() -> Iterator[Case]:
    for text in SEEDS:
        yield Case(
            "option",
            f"--seeds {text[:20]!r}",
            _run("--method", "mcr", "--seeds", text),
            (0, 2) if text in ("", "0,,1", "5-1") else 2,
            "--seeds" if text not in ("", "0,,1", "5-1") else (),
        )
    for text in SETS:
        yield Case("option", f"--set {text[:20]!r}", _run("--method", "mcr", "--set", text), 2)
    for option, values in CHOICES.items():
        for value in values:
            command = _run(option, value) if option == "--method" else _run("--method", "mcr", option, value)
            # so many jobs are no fault: there are never more side by side than processors
            code = 0 if value == "9" * 400 else (2, 3)
            yield Case("option", f"{option} {value[:20]!r}", command, code)


def paths() -> Iterator[Case]:
    """Options that name a file or a folder."""
    puts: dict[str, Callable[[Path], object]] = {
        **NO_FILES,
        "a file of garbage": lambda path: path.write_bytes(b"\x00\xff" * 500),
        "an empty file": lambda path: path.write_bytes(b""),
    }
    allowed: dict[str, tuple[int, ...]] = {
        "--vectors": (2, 3, 5),
        "--cache": (0, 3, 5),
        "--results": (0, 3, 5),
    }
    for option, codes in allowed.items():
        for what, put in puts.items():

            def command(place: Path, o=option, p=put) -> list[str]:  # type: ignore[no-untyped-def]
                p(place / "odd-path")
                words = _run("--method", "mcr")(place)
                if o in words:
                    at = words.index(o)
                    del words[at : at + 2]
                return [*words, o, str(place / "odd-path")]

            yield Case("path", f"{option}: {what}", command, codes)
    for value in ("", "n" * 300, "a\0b", "\ud83d", "/proc/x/y"):
        for option in allowed:
            yield Case(
                "path", f"{option} {value[:10]!r}", _run("--method", "mcr", option, value), (0, 2, 3, 5)
            )


def other_commands() -> Iterator[Case]:
    def with_results(*words: str) -> Callable[[Path], list[str]]:
        def command(place: Path) -> list[str]:
            write_run(place / "results", "mcr", 0)
            return [*words, "--results", str(place / "results")]

        return command

    lines: tuple[tuple[str, ...], ...] = (
        ("table", "--format", "pdf"),
        ("table", "--threshold", "-1"),
        ("table", "--threshold", "99"),
        ("table", "--threshold", "9" * 400),
        ("table", "--ties", "random"),
        ("table", "--seeds", "0-99999999"),
        ("table", "--dataset", "nothing"),
        ("table", "--dataset", "\ud83d"),
        ("stats", "--against", "everyone"),
        ("stats", "--worthwhile", "nan"),
        ("stats", "--worthwhile", "-1"),
        ("stats", "--threshold", "9" * 400),
        ("show", "nothing-like-this"),
        ("show", "../../../etc/passwd"),
        ("show", "\0"),
        ("show", "r" * 5_000),
        ("diff", "a", "b"),
        ("plot", "nothing", "--out", "x.svg"),
        ("plot", "results", "--out", "x.exe"),
        ("plot", "results", "--out", "x.svg", "--metric", "auc"),
        ("plot", "results", "--out", "x.svg", "--setting", "99"),
        ("export", "--out", "x.zip", "--dataset", "nothing"),
        ("export", "--no-pictures", "--out", ""),
        ("report", "--no-pictures", "--out", ""),
        ("multiverse", "--vary", "D-NOTHING"),
        ("ablate", "--drop", "everything"),
        ("ablate", "--drop", ""),
        ("ablate", "--drop", "ptrt+"),
    )
    for words in lines:
        yield Case("command", " ".join(words)[:60], with_results(*words), (2, 3, 5))
    plain: tuple[tuple[str, ...], ...] = (
        ("nothing",),
        ("run",),
        ("run", "--all-categories", "--category", "home"),
        ("models", "--method", "nothing"),
        ("decisions", "D-NOTHING"),
        ("data", "make", "--out", "x", "--products", "1"),
        ("data", "make", "--out", "/proc/x/y"),
        ("data", "make", "--out", "x", "--products", "9" * 40),
        ("data", "check"),
        ("data", "check", "--data", "."),
        ("data", "verify", "--data", "/nowhere"),
        ("import-weights", "--from", "/nowhere"),
    )
    for words in plain:
        yield Case("command", " ".join(words), lambda place, w=words: list(w), (2, 3, 5))  # type: ignore[misc]


def all_cases() -> list[Case]:
    return [*run_options(), *paths(), *other_commands()]
