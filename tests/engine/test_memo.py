"""Configurations from the memo are those that are made, and nothing else is taken for one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.core.errors import UsageError
from benchmark.data.corpus import Corpus
from benchmark.data.source import Source
from benchmark.engine import memo as memos
from benchmark.engine.memo import Memo
from benchmark.engine.plan import Choices, expand

METHODS = ("egcnn", "mcr", "mmss")


@pytest.fixture(scope="module")
def data(corpus: Path, cache: Path) -> Corpus:
    return Source(corpus, cache).open("amazon", "home")


def choices(**more):
    return Choices(("amazon",), ("home",), METHODS, (0, 1), device="cpu", **more)


def refuse():
    raise AssertionError("made again")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "configurations.json"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"preset": "paper", "overrides": ("mmss.encoder=scratch",)},
        {"overrides": ("d_g=8", "train.epochs=2")},
        {"drops": ((), ("ptrt", "d"))},
    ],
)
def test_the_same_runs_with_and_without(data, file, more):
    plain = expand(choices(**more), [data])
    for _ in range(2):
        again = expand(choices(**more), [data], memo=Memo(file))
        assert [spec.identity for spec in again] == [spec.identity for spec in plain]
        assert [spec.overrides for spec in again] == [spec.overrides for spec in plain]
        for a, b in zip(again, plain, strict=True):
            assert a.config == json.loads(json.dumps(b.config))


def test_what_is_known_is_not_made_again_and_what_differs_is(data, file, monkeypatch):
    expand(choices(), [data], memo=Memo(file))
    monkeypatch.setattr("benchmark.engine.plan._configuration", lambda *a, **k: refuse())
    assert len(expand(choices(), [data], memo=Memo(file))) == 6
    for more in ({"preset": "paper"}, {"overrides": ("epochs=2",)}, {"drops": (("d",),)}):
        with pytest.raises(AssertionError, match="made again"):
            expand(choices(**more), [data], memo=Memo(file))
    monkeypatch.setattr(memos, "_stamp", lambda file: (0, 0))
    memos._harness.cache_clear()
    with pytest.raises(AssertionError, match="made again"):  # another version of the harness
        expand(choices(), [data], memo=Memo(file))
    memos._harness.cache_clear()


def test_an_override_that_names_nothing_is_an_error_each_time(data, file):
    for _ in range(2):
        with pytest.raises(UsageError, match="unknown configuration key"):
            expand(choices(overrides=("no_such=1",)), [data], memo=Memo(file))


@pytest.mark.parametrize("damage", ["garbage", "a list", "another value", "half"])
def test_a_damaged_file_is_no_configuration(data, file, damage):
    wanted = [spec.identity for spec in expand(choices(), [data], memo=Memo(file))]
    text = file.read_text()
    entries = json.loads(text)
    for entry in entries.values():
        entry[1][0]["training"]["epochs"] = 77
    new = {
        "garbage": "\0",
        "a list": "[1]",
        "another value": json.dumps(entries),
        "half": text[: len(text) // 2],
    }
    file.write_text(new[damage])
    assert [spec.identity for spec in expand(choices(), [data], memo=Memo(file))] == wanted
    assert json.loads(file.read_text()) == json.loads(text)


def test_a_configuration_that_names_files_is_not_kept(file):
    made = []

    def make():
        made.append(1)
        return {"training": {}, "model": {}, "files": {"encoder": "abc"}}, ()

    for _ in range(2):
        memo = Memo(file)
        assert memo.configured({"method": "x"}, make)[0]["files"] == {"encoder": "abc"}
        memo.save()
    assert len(made) == 2
    assert not file.exists()


def test_a_place_that_cannot_be_written_is_left(tmp_path):
    (tmp_path / "cache").write_text("a file")
    memo = Memo(tmp_path / "cache" / "configurations.json")
    assert memo.configured({"a": 1}, lambda: ({"training": {}}, ("x=1",))) == ({"training": {}}, ("x=1",))
    memo.save()


CALL = """
import sys
from benchmark.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end
unwanted = [name for name in {unwanted!r} if name in sys.modules]
assert not unwanted, unwanted
"""


def imported(words: list[str], unwanted: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-c", CALL.format(unwanted=unwanted), *words], check=True, timeout=300)


def test_finding_that_nothing_is_to_do_needs_neither_torch_nor_pandas(corpus, cache, tmp_path):
    where = ["--data", str(corpus), "--cache", str(cache), "--results", str(tmp_path)]
    run = ["run", "--dataset", "amazon", "--category", "home", "--method", "egcnn", "--seeds", "0", *where]
    run += ["--device", "cpu", "--set", "epochs=1"]
    subprocess.run([sys.executable, "-m", "benchmark", *run], check=True, timeout=300)
    heavy = ("torch", "pandas", "scipy", "joblib")
    imported(run, heavy)
    imported([*run, "--dry-run"], heavy)
    imported(["status", "--results", str(tmp_path)], heavy)


def test_an_optimiser_does_not_load_the_compiler():
    call = (
        "import sys, torch; from benchmark.engine.adam import Adam; p = torch.zeros(3, requires_grad=True); "
        "one = Adam([{'params': [p]}], 0.1); one.zero_grad(); "
        "one.load_state_dict(one.state_dict()); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", call], check=True, timeout=120)
