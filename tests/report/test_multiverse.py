"""What open decisions move: which variants there are, a small real run of two, and how they are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.cli.multiverse import _absent_files, _that_change_something
from benchmark.core import decisions
from benchmark.core.errors import UsageError
from benchmark.data.datasets import AMAZON
from benchmark.report.multiverse import Effect, by_size, effect, render, to_json, variants
from benchmark.runs import store
from benchmark.stats import paired_test
from tests.command_line import bench, results_of
from tests.fixtures_runs import write_grid

PLACE = ("amazon", "home")


def options(decision: str) -> int:
    """Alternatives of a decision, by the registry's own list of options."""
    return len(decisions.get(decision).options) - 1


def test_one_at_a_time_or_every_combination() -> None:
    ids = ["D-NEG", "D-NEGWEIGHT"]
    single = variants(ids, "mmss", all_single=True)
    assert len(single) == options("D-NEG") + options("D-NEGWEIGHT")
    assert all(len(variant.overrides) == 1 for variant in single)
    both = variants(ids, "mmss", all_single=False)
    assert len(both) == (1 + options("D-NEG")) * (1 + options("D-NEGWEIGHT")) - 1
    assert len({variant.overrides for variant in both}) == len(both)
    combined = [variant for variant in both if len(variant.overrides) == 2]
    assert len(combined) == options("D-NEG") * options("D-NEGWEIGHT")
    assert all("train.negatives" in v.overrides[0] and "weighted" in v.overrides[1] for v in combined)


def test_every_decision_with_a_field_is_varied_by_all_single() -> None:
    names = {variant.name.partition(":")[0] for variant in variants([], "mmss", all_single=True)}
    expected = {
        decision.id
        for decision in decisions.all_decisions()
        if decision.fields and all(name.partition(".")[0] in ("train", "mmss") for name in decision.fields)
    }
    assert names >= {"D-OFFSET", "D-NEG", "D-MARGIN"}
    assert names <= {decision.id for decision in decisions.all_decisions()}
    assert {name for name in expected if decisions.alternatives(name)} <= names


def test_a_decision_that_the_method_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="D-OFFSET has no alternative that --set could choose for egcnn"):
        variants(["D-OFFSET"], "egcnn", all_single=False)
    with pytest.raises(UsageError, match="D-NEG"):
        variants(["D-NEGS"], "mmss", all_single=False)


def test_encoders_that_are_not_here_are_left_out_of_all_decisions() -> None:
    varied = variants([], "mmss", all_single=True)
    absent = _absent_files("mmss", varied)
    assert {name.partition(":")[0] for name in absent} == {"D-BERT"}
    assert all("place it by hand" in why for why in absent.values())
    assert _absent_files("egcnn", variants(["D-NEG"], "egcnn", all_single=True)) == {}


def test_a_small_multiverse(where: list[str], tmp_path: Path) -> None:
    words = ["--vary", "D-NEGWEIGHT", "--method", "egcnn", "--dataset", "amazon", "--category", "home"]
    words += ["--seeds", "0-2", "--set", "epochs=1", "--jobs", "1", "--device", "cpu"]
    picture = tmp_path / "picture.png"
    (found,) = results_of(bench("multiverse", *words, "--json", "--plot", str(picture), *where).stdout)
    assert found["variant"].startswith("D-NEGWEIGHT: weighted_negatives=")
    runs = store.load_runs(tmp_path / "results")
    assert len(runs) == 6
    changed, default = (
        np.stack([run.per_product["map"] for run in runs if len(run.spec.overrides) == n]) for n in (2, 1)
    )
    assert found["difference"] == pytest.approx(changed.mean() - default.mean())
    assert found["interval"] == pytest.approx(list(paired_test(changed, default).interval))
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = bench("multiverse", *words, *where).stdout
    assert "Corpus synthetic-" in shown
    assert "3 seeds, 6 test products" in shown
    assert "no correction" in shown


def test_nothing_to_vary_is_a_usage_error(where: list[str]) -> None:
    assert "say what to vary" in bench("multiverse", *where, code=2).stderr


def effects(tmp_path: Path) -> list[Effect]:
    write_grid(tmp_path, {"mcr": 0.4, "mcl": 0.42, "mmss": 0.6}, range(3), categories=("home",))
    runs = store.load_runs(tmp_path)

    def of(method: str) -> list[store.StoredRun]:
        return [run for run in runs if run.spec.method == method]

    return [
        effect("small", *PLACE, of("mcr"), of("mcl")),
        effect("absent", *PLACE, of("mcr"), []),
        effect("large", *PLACE, of("mmss"), of("mcr")),
    ]


def test_sorted_by_size_and_the_missing_last(tmp_path: Path) -> None:
    found = effects(tmp_path)
    assert [item.variant for item in by_size(found)] == ["large", "small", "absent"]
    large, small, absent = to_json(found)
    assert large["difference"] == pytest.approx(-0.2, abs=0.03)
    assert large["interval"][0] < large["difference"] < large["interval"][1] < 0
    assert abs(small["difference"]) < 0.06
    assert (absent["missing"], absent["difference"], absent["interval"]) == ("not run", None, None)
    lines = render(found, "MM-SS", "Caption.").splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["large", "small", "absent"]
    assert lines[-1] == "Caption."


def test_an_alternative_that_is_the_presets_default_is_left_out_by_name(
    where: list[str], tmp_path: Path
) -> None:
    words = ["--vary", "D-NEGWEIGHT", "--method", "egcnn", "--dataset", "amazon", "--category", "home"]
    words += ["--seeds", "0", "--jobs", "1", "--device", "cpu", "--set", "epochs=1"]
    done = bench("multiverse", *words, "--json", *where)
    assert "left out" not in done.stderr
    (variant,) = variants(["D-NEGWEIGHT"], "egcnn", all_single=True)
    arguments = (varied := [variant]), [(AMAZON, "home")], "quick", "fair"
    assert _that_change_something("egcnn", *arguments, ())[0] == varied
    kept, inert = _that_change_something("egcnn", *arguments, variant.overrides)
    assert inert == [variant.name]
    assert [one.registry_default for one in kept] == [True]


def test_another_threshold_is_another_metric(tmp_path: Path) -> None:
    write_grid(tmp_path / "a", {"mcr": 0.4}, range(3), categories=("home",))
    training = {"relevance_threshold": 1}
    write_grid(tmp_path / "b", {"mcr": 0.6}, range(3), categories=("home",), training=training)
    found = effect("D-THRESHOLD", *PLACE, *(store.load_runs(tmp_path / name) for name in "ab"))
    assert found.result is None
    assert found.missing.startswith("changes the metric")


def test_variants_of_one_method_are_paired_by_seed_and_others_say_so(tmp_path: Path) -> None:
    write_grid(tmp_path, {"mcr": 0.4, "mcl": 0.42}, range(4), categories=("home",))
    runs = store.load_runs(tmp_path)
    a, b = ([run for run in runs if run.spec.method == name] for name in ("mcr", "mcl"))
    assert effect("x", *PLACE, a, b[::-1]).result == effect("x", *PLACE, a, b).result
    assert effect("x", *PLACE, a, b).result.paired
    apart = effect("x", *PLACE, a[:3], b[1:])
    assert not apart.result.paired
    assert "(other seeds: unpaired)" in render([apart], "MCR", "")
