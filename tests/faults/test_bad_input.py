"""A part of the bad inputs and of the damages; `python -m tests.faults.bad_input` and `.damage` try them all."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.core.files import write_atomically
from tests.faults import damage
from tests.faults.bad_input import all_cases
from tests.faults.cases import Case, fault_of, judge
from tests.fixtures_runs import make_consistent, write_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and alarms of POSIX")
EVERY = 12


@pytest.mark.parametrize("case", all_cases()[::EVERY], ids=str)
def test_a_bad_input_is_a_message(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    verdict = judge(case, tmp_path / "place")
    assert not verdict.fault, verdict.output


def test_the_judge_sees_what_is_wrong() -> None:
    case = Case("kind", "name", lambda place: [], 3, "file.txt")
    assert fault_of(case, 3, "error: file.txt is bad", SystemExit(3)) == ""
    assert "does not name" in fault_of(case, 3, "error: bad", SystemExit(3))
    assert "code 2" in fault_of(case, 2, "error: file.txt", SystemExit(2))
    assert "traceback" in fault_of(case, 1, "", KeyError("x"))


@pytest.mark.parametrize("part", damage.PARTS, ids=lambda part: part.__name__)
def test_damage_is_noticed_or_harmless(part: damage.Part, tmp_path: Path) -> None:
    outcomes = list(part(tmp_path, random.Random(1), 3))
    assert len(outcomes) >= 10
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert "noticed" in {outcome.verdict for outcome in outcomes}


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [(">&-", 5, "standard output is closed"), ("> /dev/full", 5, "No space left"), ("| head -1", 0, "")],
)
def test_an_output_that_takes_nothing(tmp_path: Path, ending: str, code: int, said: str) -> None:
    write_run(tmp_path / "results", "mcr", 0)
    call = "from benchmark.cli import main; main()"
    command = f'set -o pipefail; "$PYTHON" -c "{call}" table --dataset lazada --results "$RESULTS" {ending}'
    environment = os.environ | {
        "PYTHON": sys.executable,
        "RESULTS": str(tmp_path / "results"),
        "PYTHONIOENCODING": "ascii",
    }
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "\ufffd" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("word", ["--version", "--help"])
def test_help_that_cannot_be_printed(word: str) -> None:
    call = "from benchmark.cli import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", call, word],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 5
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("data", "import"), ("data", "make"), ("export",)], ids=" ".join)
def test_a_disk_that_takes_no_more(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Files may have 16 KB each: what a full disk is to whoever writes."""
    rows = [f"p{n},r{n},{'good phone ' * 9},{n}" for n in range(1_000)]
    (tmp_path / "reviews.csv").write_text("\n".join(["product_id,review_id,content,votes", *rows]))
    write_run(tmp_path / "results", "mcr", 0)
    make_consistent(tmp_path / "results")
    given = {
        "data import": [str(tmp_path / "reviews.csv"), "--name", "shop", "--language", "en"],
        "data make": ["--products", "24"],
        "export": ["--results", str(tmp_path / "results"), "--no-pictures"],
    }[" ".join(words)]
    command = [*words, *given, "--out", str(tmp_path / "out.zip")]
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14))"
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}; from benchmark.cli import main; main()", *command],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.zip").is_file()


def test_nothing_but_a_file_is_written_over(tmp_path: Path) -> None:
    """As root, a rename over a device would take it from everybody on the machine."""
    (tmp_path / "to a device").symlink_to(os.devnull)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to nowhere").symlink_to(tmp_path / "nowhere")
    for name in ("to a device", "pipe"):
        with pytest.raises(OSError, match="where a file should be"):
            write_atomically(tmp_path / name, "x")
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, "x")
    write_atomically(tmp_path / "to nowhere", "x")
    assert (tmp_path / "to nowhere").read_text() == "x"
    assert (tmp_path / "pipe").is_fifo()
    assert Path(os.devnull).is_char_device()
