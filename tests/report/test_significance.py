"""`bench stats`: the right opponents, the full family's correction, verdicts in words, JSON that is JSON."""

import json
from operator import itemgetter

import pytest

from benchmark.core.errors import UsageError
from benchmark.report.grid import group_settings
from benchmark.report.significance import stats_report
from benchmark.runs.store import load_runs
from tests.fixtures_runs import N_PRODUCTS, write_data, write_grid, write_run

QUALITY = {"bimpm": 0.40, "mcr": 0.55, "mcl": 0.55, "mmss": 0.57}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_grid(folder, QUALITY, categories=["clothing", "home"], spread=0.02)
    (setting,) = group_settings(load_runs(folder))
    return setting


def opponents(report):
    return [(f.comparison.metric, f.comparison.category, f.comparison.b.method) for f in report.findings]


def test_best_all_and_one(setting):
    best = opponents(stats_report(setting, "best"))
    assert len(best) == 3 * 2
    assert {method for _, _, method in best} <= {"mcr", "mcl"}
    assert len(opponents(stats_report(setting, "all"))) == 3 * 2 * 3
    assert {method for _, _, method in opponents(stats_report(setting, "bimpm"))} == {"bimpm"}


def test_whatever_is_shown_the_family_is_full(setting):
    everything = {
        (f.comparison.metric, f.comparison.category, f.comparison.b.method): f.comparison.p_holm
        for f in stats_report(setting, "all").findings
    }
    for finding in stats_report(setting, "mcr").findings:
        one = finding.comparison
        assert one.p_holm == everything[one.metric, one.category, "mcr"]
    assert stats_report(setting, "best").family_sizes == {"map": 6, "ndcg@3": 6, "ndcg@5": 6}


@pytest.mark.parametrize(
    ("gap", "noise", "expected"),
    [
        (0.1, 0.0, "better"),
        (-0.1, 0.0, "worse"),
        (0.003, 0.0, "better: significant but below 0.5"),
        (0.0, 0.0, "no difference worth having (interval within ±0.5)"),
        (0.02, 0.3, "undecided"),
    ],
)
def test_verdicts(tmp_path, gap, noise, expected):
    for method, value in (("mcr", 0.5), ("mmss", 0.5 + gap)):
        for seed in range(4):
            # Per-product patterns that average out; the seeds differ by a hair.
            values = [
                value + 0.0005 * (seed % 2) + noise * (-1) ** (p // (2 if method == "mcr" else 1))
                for p in range(24)
            ]
            write_run(tmp_path, method, seed, products=[f"P{p}" for p in range(24)], values=values)
    (setting,) = group_settings(load_runs(tmp_path))
    finding = stats_report(setting).findings[0]
    assert finding.verdict == expected


def test_blocks_on_request(setting):
    plain = stats_report(setting).render()
    assert "### Robustness" not in plain
    assert "### Power" not in plain
    report = stats_report(setting, "mcr", robust=True, power=True)
    text = report.render()
    for words in ("### Robustness", "given these trained models", "### Power", "### Sentinels", "### Ties"):
        assert words in text
    assert text == stats_report(setting, "mcr", robust=True, power=True).render()
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert value["comparisons"][0]["robust"]["permutation"]["smallest_possible"] == pytest.approx(2 / 252)
    assert value["comparisons"][0]["power"]["difference"] == 0.005
    assert set(value["sentinels"]) == {"clothing", "home"}


def test_a_single_seed_gives_no_test_and_valid_json(tmp_path):
    write_grid(tmp_path, {"mcr": 0.5, "mmss": 0.6}, seeds=[0])
    (setting,) = group_settings(load_runs(tmp_path))
    report = stats_report(setting, robust=True, power=True)
    assert "no test (1 and 1 seeds" in report.render()
    json.dumps(report.to_json(), allow_nan=False)


def test_missing_and_synthetic_are_said(tmp_path):
    write_grid(tmp_path, {"mcr": 0.5}, synthetic=True)
    write_run(tmp_path, "mmss", 0, synthetic=True)
    (setting,) = group_settings(load_runs(tmp_path))
    report = stats_report(setting)
    assert report.findings == ()
    text = report.render()
    assert "say nothing about real reviews" in text
    assert "CS&J MM-SS (1/5 seeds)" in text
    assert "No comparison is possible" in text


def test_unknown_opponents_are_refused(setting):
    with pytest.raises(UsageError, match="mcl"):
        stats_report(setting, "mcll")
    with pytest.raises(UsageError, match="compared with"):
        stats_report(setting, "mmss")


def test_too_few_telling_products_get_no_verdict_and_no_power(tmp_path):
    """Both methods have the same value on every product, whatever their seeds: the metric cannot tell."""
    for method in ("mcr", "mmss"):
        for seed in range(3):
            write_run(tmp_path, method, seed, values=[1.0] * 30)
    (setting,) = group_settings(load_runs(tmp_path))
    for finding in stats_report(setting, power=True).findings:
        assert finding.power is None
        assert finding.comparison.p_holm is None
        assert finding.verdict == "no verdict (too few products: scores differ on 0, a verdict needs 20)"


def test_every_method_against_the_best_trivial_scorer(setting):
    """The same comparisons and corrected p values as the table's caption has, and by hand for one cell."""
    from benchmark.report.tables import results_table
    from benchmark.stats.crossed import fixed_test

    report = stats_report(setting)
    found = report.to_json()["against_trivial"]
    in_caption = results_table(setting).facts["against_trivial"]
    place = itemgetter("metric", "category", "method")
    assert sorted(found, key=place) == sorted(in_caption, key=place)
    assert len(found) == 2 * 3 * len(QUALITY)
    one = next(
        one for one in report.trivial if (one.category, one.metric, one.method) == ("home", "map", "mcr")
    )
    best = max(
        (one for one in report.sentinels["home"] if one.name in ("random", "longest", "oldest", "has-image")),
        key=lambda one: one.values["map"],
    )
    assert one.scorer.name == best.name
    cell = setting.cell("home", "mcr")
    again = fixed_test(cell.values("map"), best.per_product["map"])
    assert one.result.difference == pytest.approx(cell.values("map").mean() - best.values["map"])
    assert one.p_holm >= again.p_value
    text = report.render()
    assert "### Against the best trivial scorer" in text
    block = text.partition("### Against the best trivial scorer")[2].partition("###")[0]
    assert block.count("Longest review first (96.7)") == 2 * len(QUALITY)
    assert block.count("| below ") == 2 * len(QUALITY)
    assert "NOTHING BEATS A TRIVIAL SCORER: no method is above 'Longest review first'" in text


def test_methods_above_every_trivial_scorer_are_said_to_be(tmp_path):
    ids = [f"P{i:03}" for i in range(N_PRODUCTS)]
    write_data(tmp_path, "lazada", "home", "f" * 64, ids, labels=[0, 0, 1, 2], times=False, images=False)
    write_grid(tmp_path, {"mcr": 0.9, "mmss": 0.95}, categories=["home"], spread=0.01)
    (setting,) = group_settings(load_runs(tmp_path))
    report = stats_report(setting)
    assert {one.above for one in report.trivial if one.metric == "map"} == {True}
    assert not [note for note in report.notes if "MAP" in note and "NOTHING BEATS" in note]
    assert any("H&K 2 of 2 methods against" in note for note in report.notes)
    assert report.render().count("| above ") == 2
