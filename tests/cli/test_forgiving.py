"""What people type instead of what the manual says: it is understood, or the error names what was meant."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import models
from benchmark.cli import names
from benchmark.cli.app import GROUPS, app
from benchmark.core.errors import UsageError
from benchmark.core.words import count, understood
from benchmark.data.datasets import BUILT_IN
from benchmark.engine.plan import PARTS
from benchmark.runs import store
from tests.command_line import bench

ASKING = [[], ["help"], ["-h"], ["--help"]]


@pytest.mark.parametrize("words", ASKING)
def test_help_in_every_form_is_the_same_page(words: list[str]) -> None:
    assert bench(*words).stdout == bench("--help").stdout


@pytest.mark.parametrize("words", [["help", "data", "check"], ["data", "check", "-h"]])
def test_help_of_one_command(words: list[str]) -> None:
    assert "Validate a release" in bench(*words).stdout


def test_help_of_no_command() -> None:
    assert "Did you mean table" in bench("help", "tabel", code=2).stderr


def test_the_module_is_the_command() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "benchmark", "--version"], capture_output=True, text=True, check=True
    )
    assert made.stdout.startswith("mrhp-bench ")


def test_every_command_is_in_a_group_and_no_description_is_cut() -> None:
    shown = bench("--help").stdout
    commands = [command for command in app.registered_commands if not command.hidden]
    assert {command.rich_help_panel for command in commands} <= set(GROUPS)
    flat = " ".join(shown.split())
    for command in commands:
        assert command.callback is not None
        text = (command.callback.__doc__ or "").split("\n\n")[0]
        assert " ".join(text.split()).replace("-", "") in flat.replace("- ", "").replace("-", "")
    assert "..." not in shown.partition("Run:")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("given", "meant"),
    [("MM-SS", "mmss"), ("mm ss", "mmss"), ("D&R Net", "drnet"), ("EG_CNN", "egcnn"), ("GBDT-LCM", "gbdt")],
)
def test_a_method_by_its_title(given: str, meant: str) -> None:
    assert names.one_method(given) == meant
    assert names.pick_methods([given]) == (meant,)


def test_every_title_and_name_is_understood_as_its_own_method() -> None:
    for name, method in models.METHODS.items():
        for given in (name, name.upper(), method.title, method.title.lower()):
            assert names.one_method(given) == name


def test_a_list_with_commas_is_the_option_given_again() -> None:
    assert names.pick_methods(["MCR,MM-SS", " bimpm"]) == ("bimpm", "mcr", "mmss")
    assert names.pick_methods([]) == names.pick_methods(None) == models.DEFAULT_METHODS
    assert names.pick_data(None, ["Amazon,lazada"], ["Home"])[0] == ("lazada", "amazon")
    assert names.split_assignments(["a.b=1,2,c=x", "d=3"]) == ["a.b=1,2", "c=x", "d=3"]


@pytest.mark.parametrize("given", ["PTRT", "p_t r_t", "pt-rt"])
def test_a_part_as_the_paper_writes_it(given: str) -> None:
    assert names.parse_drops([given]) == (("ptrt",),)


def test_parts_together_and_one_after_the_other() -> None:
    assert names.parse_drops(["rtrv+PTRT,d"]) == (("ptrt", "rtrv"), ("d",))
    assert names.parse_drops(["ALL"]) == tuple((part,) for part in PARTS)


@pytest.mark.parametrize("given", ["", "-", "nothing"])
def test_what_is_nothing_is_not_understood_as_something(given: str) -> None:
    with pytest.raises(UsageError, match="unknown part"):
        understood("part", given, PARTS)


@pytest.mark.parametrize(
    ("given", "several"), [("5", "--seeds 0-4 is 5 seeds"), ("1", "--seeds 0 is 1 seed,")]
)
def test_a_lone_number_of_seeds_asks_what_was_meant(given: str, several: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.parse_seeds(given)
    assert several in str(caught.value)
    assert f"--seeds {given}-{given} is seed {given} alone" in str(caught.value)
    assert names.parse_seeds(f"{given}-{given}") == (int(given),)
    assert names.parse_seeds("0") == (0,)


@pytest.mark.parametrize("key", ["lerning_rate", "train.lerning_rate", "egcnn.lerning_rate"])
def test_a_misspelt_key_finds_its_field(key: str, where: list[str]) -> None:
    words = ["run", "amazon", "--method", "egcnn", "--set", f"{key}=0.1", *where]
    assert "Did you mean train.learning_rate" in bench(*words, code=2).stderr


def test_other_spellings_make_the_same_run(where: list[str], tmp_path: Path) -> None:
    plain = ["--dataset", "amazon", "--method", "egcnn", "--set", "epochs=2", "--set", "patience=0"]
    bench("run", *plain, "--seeds", "0", *where)
    other = ["Amazon", "--method", "EG-CNN", "--set", "patience=0,epochs=2", "--preset", "Quick"]
    again = bench("run", *other, "--protocol", "FAIR", "--device", "CPU", "--seeds", "0", *where)
    assert "nothing to do" in again.stdout
    (run,) = store.load_runs(tmp_path / "results")
    assert (run.spec.preset, run.spec.protocol) == ("quick", "fair")


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_leaves_results_and_errors(where: list[str], place: str) -> None:
    words = ["run", "amazon", "--method", "egcnn", "--set", "epochs=1", "--seeds", "0", *where]
    made = bench("-q", *words) if place == "before" else bench(*words, "-q")
    assert made.stderr == ""
    assert "done in" in made.stdout
    assert "unknown method" in bench("-q", "run", "amazon", "--method", "zzz", code=2).stderr


def test_verbose_tells_where_an_error_comes_from(tmp_path: Path) -> None:
    words = ["table", "--results", str(tmp_path)]
    assert "Traceback" not in bench(*words, code=2).stderr
    assert "Traceback" in bench(*words, "-v", code=2).stderr
    assert "Traceback" not in bench(*words, code=2).stderr


COMPLETIONS = {
    "method": ("bench run --method m", {name for name in models.METHODS if name.startswith("m")}),
    "list": ("bench run --method egcnn,mcl", {"egcnn,mcl"}),
    "data set": ("bench table la", {"lazada"}),
    "option's data set": ("bench table --dataset ", set(BUILT_IN)),
    "part": ("bench ablate --drop pt", {part for part in PARTS if part.startswith("pt")}),
    "parts": ("bench ablate --drop d+rt", {"d+rtrv"}),
    "command": ("bench tab", {"table"}),
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_names(shell: str) -> None:
    """As the scripts that Typer installs call it: the words so far in variables, one name a line back."""
    for line, expected in list(COMPLETIONS.items())[: None if shell == "bash" else 2]:
        words = expected[0]
        env = {"bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}}.get(
            shell, {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        )
        made = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv[0] = 'bench'; from benchmark.cli import main; main()"],
            env=os.environ | env | {"_BENCH_COMPLETE": f"complete_{shell}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = made.stdout.replace('"', " ").replace("(", " ").replace(")", " ").split()
        assert expected[1] <= set(found), (line, made.stdout, made.stderr)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1200, "1,200 runs")]
)
def test_numbers_have_their_plural(number: int, text: str) -> None:
    assert count(number, "run") == text


def test_a_plural_of_its_own() -> None:
    assert count(2, "category", "categories") == "2 categories"


def test_on_a_terminal_a_table_fits_and_in_a_pipe_it_is_markdown(where: list[str]) -> None:
    """A real pseudo-terminal of 80 columns, and a pipe."""
    import pty

    bench("run", "amazon", "--method", "egcnn,prhnet", "--set", "epochs=1", "--seeds", "0,1", *where)
    command = [sys.executable, "-m", "benchmark", "table", "amazon", *where[-2:]]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert piped.startswith("### ")
    assert "| Method" in piped
    main, side = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM", "FORCE_COLOR")}
    for more, styled in (({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False)):
        process = subprocess.Popen(command, stdout=side, env=env | more | {"COLUMNS": "80", "LINES": "24"})
        seen = b""
        while process.poll() is None or select.select([main], [], [], 0.2)[0]:
            if select.select([main], [], [], 0.2)[0]:
                seen += os.read(main, 65536)
        text = seen.decode()
        assert ("\x1b[1m" in text) is styled
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
        assert max(map(len, lines)) <= 80
        assert not any(line.startswith("|") for line in lines)


def test_every_command_has_json() -> None:
    """All but the help itself; those of the groups too."""

    def options(path: list[str]) -> str:
        return bench("help", *path).stdout

    groups = [([str(group.name)], group.typer_instance) for group in app.registered_groups]
    for prefix, found in [([], app), *groups]:
        assert found is not None
        for command in found.registered_commands:
            assert command.callback is not None
            name = command.name or command.callback.__name__
            if not command.hidden:
                assert "--json" in options([*prefix, name]), name


def test_json_names_its_schema_and_has_one_shape() -> None:
    for words in (["models"], ["models", "--method", "mcr"], ["decisions"], ["decisions", "d-offset"]):
        document = json.loads(bench(*words, "--json").stdout)
        assert list(document) == ["schema_version", "results"]
        assert isinstance(document["results"], list)
