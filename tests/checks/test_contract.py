"""`bench check-method` passes what `bench new method` writes, and names class, line and fault of planted ones."""

from __future__ import annotations

import importlib
import re
import sys

import pytest

from benchmark import models
from benchmark.checks import contract
from benchmark.cli.own import TEMPLATE
from tests.command_line import bench

SHAPE, SAME, INVARIANT, IMAGES = list(contract.CLAUSES)[1:5]
WHAT, *_, LEARNS = contract.CLAUSES
RETURN = "return self.scorer(self.dropout(both_BE)).squeeze(-1)"
FAULTS = {
    "shape": (
        RETURN,
        "return self.scorer(both_BE)",
        SHAPE,
        r"Mynet\.score returned \[24, 1\]; it must return \[24\]",
    ),
    "constant": (RETURN, "return self.scorer(both_BE).sum(-1) * 0", SHAPE, "the same score"),
    "nan": (RETURN, "return self.scorer(both_BE).squeeze(-1).log()", SHAPE, "not finite"),
    "raises": (RETURN, "return self.scorer(review_BE).squeeze(-1)", SHAPE, "Mynet.score raised RuntimeError"),
    "random": (
        RETURN,
        RETURN.replace(".squeeze(-1)", ".squeeze(-1) + __import__('random').random()"),
        SAME,
        "seed",
    ),
    "batch": (
        RETURN,
        "return self.scorer(both_BE - both_BE.mean(0)).squeeze(-1)",
        INVARIANT,
        "the other products in its batch",
    ),
    "padding": ("/ mask_NT1.sum(1)", "/ mask_NT1.shape[1]", INVARIANT, "moves by"),
    "images": (
        "both_BE = torch",
        "assert batch.reviews.roi_count_N.any(), 'no image'\n        both_BE = torch",
        IMAGES,
        "AssertionError: no image",
    ),
    "learns": (
        "    def score(",
        "    def parameter_groups(self, learning_rate):\n"
        "        return [{'params': list(self.parameters()), 'lr': 0.0}]\n\n    def score(",
        LEARNS,
        "learns nothing",
    ),
    "frozen": ("@dataclass(frozen=True)", "@dataclass", WHAT, "must be frozen"),
    "quick": ('quick = {"embedding"', 'quick = {"embeding"', WHAT, "embeding"),
    "title": ('title = "Mynet"', "", WHAT, r"Mynet\.title is missing"),
}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))
    yield
    sys.modules.pop("mynet", None)
    importlib.invalidate_caches()


def write(folder, old="", new=""):
    text = TEMPLATE.replace("@CLASS@", "Mynet").replace("@NAME@", "mynet")
    assert old in text
    text = text.replace(old, new) if old else text
    if "roi_count_N" in new:
        text = text.replace("reads_images = False", "reads_images = True")
    (folder / "mynet.py").write_text(text)
    return text, f"{folder / 'mynet.py'}:Mynet"


def test_what_new_method_writes_keeps_the_contract(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bench("new", "method", "mynet")
    made = bench("check-method", "mynet.py:Mynet")
    assert made.stdout.count("ok ") == len(contract.CLAUSES)
    assert "exists" in bench("new", "method", "mynet", code=2).stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_line(tmp_path, fault):
    old, new, clause, words = FAULTS[fault]
    text, target = write(tmp_path, old, new)
    found = {one.name: one.problem for one in contract.check_method(models.register(target).name)}
    problem = found[clause]
    assert re.search(words, problem)
    line = int(re.search(r"mynet\.py:(\d+): ", problem)[1])
    shown = text.splitlines()[line - 1]
    if fault in ("raises", "images"):
        assert shown.strip() == new.splitlines()[0].strip()
    elif clause == WHAT or fault == "learns":
        assert shown.startswith("class Mynet")
    else:
        assert "def score" in shown
    before = [found[name] for name in list(contract.CLAUSES)[: list(contract.CLAUSES).index(clause)]]
    assert not any(before)


def test_the_command_fails_with_it(tmp_path):
    _, target = write(tmp_path, *FAULTS["shape"][:2])
    made = bench("check-method", target, code=4)
    assert "FAILED scores have shape [B]" in made.stdout


def test_the_methods_of_the_paper_keep_it():
    for name in ("bimpm", "mcr", "mmss"):
        assert not [one for one in contract.check_method(name) if one.problem]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "import no_such_module_x\nclass Mynet: pass\n",
            r"mynet\.py:1: cannot be imported .*no_such_module_x",
        ),
        ("class Mynet:\n    pass\n", "no subclass of"),
        ("class Other:\n    pass\n", "no class Mynet"),
        ("class Mynet(:\n", r"mynet\.py:1"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, text, words):
    (tmp_path / "mynet.py").write_text(text)
    made = bench("check-method", f"{tmp_path / 'mynet.py'}:Mynet", code=2)
    assert re.search(words, made.stderr)


def test_the_name_of_another_method_is_refused(tmp_path):
    _, target = write(tmp_path, 'name = "mynet"', 'name = "mcr"')
    made = bench("check-method", target, code=2)
    assert "another method is called 'mcr'" in made.stderr
