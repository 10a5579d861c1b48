"""What surrounds the code: the licence, the citation, the sdist, the checks that run before a commit."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import benchmark

ROOT = Path(__file__).resolve().parent.parent
TASKS = ROOT / "scripts" / "tasks.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_and_one_licence_everywhere() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == PROJECT["version"] == benchmark.__version__
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert text("LICENSE").startswith("MIT License")
    assert "the mrhp-bench authors" in text("LICENSE")
    assert PROJECT["authors"] == [{"name": "the mrhp-bench authors"}]
    assert f"## {PROJECT['version']}\n" in text("CHANGELOG.md")


def test_the_citation_names_the_paper_that_the_proposed_method_names() -> None:
    from benchmark import models

    (paper,) = yaml.safe_load(text("CITATION.cff"))["references"]
    reference = models.load(models.PROPOSED).reference
    assert all(author["family-names"] in reference for author in paper["authors"])
    assert str(paper["year"]) in reference
    assert paper["notes"].removeprefix("arXiv:") in reference


def test_classifiers_are_the_pythons_that_the_workflow_tests() -> None:
    versions = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), flags=re.M)
    workflow = yaml.safe_load(text(".github/workflows/check.yml"))
    assert workflow["jobs"]["suite"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert {"run": ".ci/run", "env": {"TORCH_INDEX": "${{ vars.TORCH_INDEX }}"}} in workflow["jobs"]["suite"][
        "steps"
    ]


def test_ci_runs_the_readmes_test_command_with_style_and_types() -> None:
    assert text(".ci/run").rstrip().endswith("make test")
    assert "make test" in text("README.md")
    commands = printed("test")
    for tool in ("ruff check", "ruff format --check", "mypy", "pytest"):
        assert any(tool in line for line in commands), tool
    assert "pytest" in commands[-1]  # its closing lines are the last that are printed


def printed(task: str) -> list[str]:
    """The commands that a task would run."""
    command = [sys.executable, str(TASKS), task, "--dry-run"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()


def test_every_target_of_make_is_a_task_that_prints_its_commands() -> None:
    targets = re.findall(r"^([a-z ]+):$", text("Makefile"), flags=re.M)[0].split()
    described = re.findall(r"scripts/tasks\.py (\w+) ", runpy.run_path(str(TASKS))["__doc__"])
    assert sorted(targets) == sorted(described)
    for task in targets:
        assert printed(task)


def test_a_fresh_tree_sets_up_what_the_task_needs_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("pyproject.toml", "setup.py", "constraints.txt", "benchmark/kernels/_kernels.cpp")
    for name in (*names, "scripts/tasks.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")
    tasks = runpy.run_path(str(tmp_path / "scripts/tasks.py"))

    def commands(task: str) -> list[str]:
        assert tasks["main"]([task, "--dry-run"]) == 0
        return capsys.readouterr().out.splitlines()

    first, torch, project, *_ = commands("demo")
    assert first.endswith(f"-m venv {tmp_path / '.venv'}")
    assert "--extra-index-url https://example.org/cpu" in torch
    assert torch.endswith(" torch")
    assert project.endswith("-c constraints.txt -e .")
    assert any(line.endswith("-e .[dev]") for line in commands("test"))
    # an environment that is up to date is left alone; one that is older than its pins is not
    tasks["PYTHON"].parent.mkdir(parents=True)
    for made in (tasks["PYTHON"], tmp_path / ".venv/.ready"):
        made.touch()
    assert not any("pip" in line for line in commands("demo"))
    os.utime(tmp_path / "constraints.txt", (2e9, 2e9))
    assert any("pip" in line for line in commands("demo"))


def test_a_failing_command_ends_its_task_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = runpy.run_path(str(TASKS))
    failing, never = ((sys.executable, "-c", f"raise SystemExit({status})") for status in (3, 4))
    names = tasks["main"].__globals__
    monkeypatch.setitem(names["TASKS"], "check", ("", (failing, never)))
    monkeypatch.setitem(names, "set_up", lambda extra, torch_index: iter(()))
    assert tasks["main"](["check"]) == 3


def test_every_hook_is_a_local_tool_of_the_test_environment() -> None:
    (repo,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert repo["repo"] == "local"
    entries = [hook["entry"].split() for hook in repo["hooks"]]
    assert {words[2] for words in entries} == {"ruff", "mypy", "pytest"}
    assert all(words[:2] == ["python", "-m"] for words in entries)


def test_every_dependency_is_pinned() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = {canonicalize_name(pin.name) for pin in pins()}
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    names = {canonicalize_name(Requirement(line).name) for line in wanted} - {"mrhp-bench"}
    assert names - pinned == set()


def pins() -> list:
    from packaging.requirements import Requirement

    lines = text("constraints.txt").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_each_pin_is_exact_and_stands_once() -> None:
    seen = set()
    for pin in pins():
        assert [one.operator for one in pin.specifier] == ["=="], pin
        key = (pin.name.lower(), str(pin.marker))
        assert key not in seen, f"{pin.name} is pinned twice"
        seen.add(key)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in an sdist of this tree, below its top folder; built in a process of its own, without network."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("an sdist needs setuptools 77 (`make test` installs it)")
    out = tmp_path_factory.mktemp("sdist")
    copy = tmp_path_factory.mktemp("tree")
    tracked = listed()
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    build = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=copy, capture_output=True, check=True)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def listed() -> list[str]:
    """Files of this tree: those in git, or all that the sdist brought where there is no checkout."""
    if (ROOT / ".git").exists():
        found = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        return sorted(name for name in found if name and (ROOT / name).is_file())
    sources = next(iter(ROOT.glob("*.egg-info/SOURCES.txt")))
    return [name for name in sources.read_text().splitlines() if (ROOT / name).is_file()]


def test_the_sdist_holds_every_file_of_the_tree(sdist: set[str]) -> None:
    assert {name for name in listed() if name != ".gitignore"} - sdist == set()
    assert {"constraints.txt", "Makefile", "LICENSE", "tests/conftest.py", "tests/toy.py"} <= sdist
    assert {"benchmark/data/published.csv", "benchmark/kernels/_kernels.cpp", "mmss/py.typed"} <= sdist


def test_what_is_read_beside_the_code_is_package_data() -> None:
    """Files of the packages that are no Python, but the kernels' source, which the wheel needs not."""
    setuptools = tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]
    shipped = {
        file
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for file in (ROOT / package).glob(pattern)
        if file.is_file()
    }
    for package in ("benchmark", "baselines", "mmss"):
        for file in (ROOT / package).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc", ".cpp", ".so", ".pyd"):
                assert file in shipped, f"{file.relative_to(ROOT)} is in no wheel"
