"""Our values beside the published ones: verdicts at their bounds, the paper's contradictions, no nonsense."""

import json

import pytest

from benchmark.report.compare import compare
from benchmark.report.grid import group_settings
from benchmark.runs.store import load_runs
from tests.fixtures_runs import write_grid, write_run

LAZADA_MCR_MAP = 68.6  # Table 1, CS&J


def verdict_for(tmp_path, ours, method="mcr", dataset="lazada", metric="map"):
    """The verdict on the first cell when the seeds' means are `ours`, in percent."""
    for seed, value in enumerate(ours):
        write_run(
            tmp_path, method, seed, dataset=dataset, products=["a", "b"], values=[value / 100] * 2,
            papers_data=True,
        )  # fmt: skip
    (setting,) = group_settings(load_runs(tmp_path))
    report = compare(setting)
    return next(
        one
        for one in report.verdicts
        if (one.category, one.method, one.metric, one.drop) == ("clothing", method, metric, ())
    )


@pytest.mark.parametrize(
    ("offsets", "verdict"),
    [
        ([0.4, 0.4, 0.4], "OK"),
        ([-0.5, -0.5, -0.5], "OK"),
        ([0.51, 0.51, 0.51], "OKish"),
        ([-1.5, -1.5, -1.5], "OKish"),
        ([1.51, 1.51, 1.51], "FAIL"),
        ([-9.0], "FAIL"),
        ([0.9, 1.0, 1.1], "OKish"),
        ([0.4, 0.7, 1.0], "OK"),  # 0.7 points away, inside an interval of +-0.75
        ([1.9, 2.0, 2.1], "FAIL"),
        ([0.0], "undecided"),  # no interval
        ([1.5, 1.5], "undecided"),
        ([-3.0, 0.0, 6.0], "undecided"),  # an interval of +-11 points holds anything
        ([-0.61, 0.0, 0.61], "undecided"),  # +-1.515
        ([-0.6, 0.0, 0.6], "OK"),  # +-1.49
        ([-40.0, 40.0], "undecided"),
    ],
)
def test_verdicts_at_their_bounds(tmp_path, offsets, verdict):
    one = verdict_for(tmp_path, [LAZADA_MCR_MAP + offset for offset in offsets])
    assert one.verdict == verdict
    assert one.published.printed == "68.6"
    assert (one.interval is None) == (len(offsets) < 3)


def test_the_interval_is_t_over_seeds(tmp_path):
    from scipy import stats

    means = [68.0, 68.5, 70.0, 69.0]
    one = verdict_for(tmp_path, means)
    assert one.interval == pytest.approx(
        stats.t.interval(0.95, 3, loc=sum(means) / 4, scale=stats.sem(means))
    )
    assert one.difference == pytest.approx(sum(means) / 4 - LAZADA_MCR_MAP)


def test_every_cell_is_listed_and_missing_ones_say_so(tmp_path):
    for category in ("clothing", "electronics", "home"):
        write_run(tmp_path, "mcr", 0, category=category, value=0.2, papers_data=True)
    write_run(tmp_path, "mcl", 1, value=0.2, papers_data=True)
    (setting,) = group_settings(load_runs(tmp_path))
    report = compare(setting)
    assert len(report.verdicts) == 9 * 9 + 7 * 3
    none = dict.fromkeys(("OK", "OKish", "undecided", "FAIL"), 0)
    assert report.counts() == none | {"incomplete": 12, "not run": 90}
    assert not report.failed
    text = report.render()
    assert "1/2 seeds" in text
    assert "90 not run" in text
    assert "| not run" not in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 1 + 12
    failing = compare(setting, seeds=[0])
    assert failing.failed
    assert failing.counts()["FAIL"] == 9


def test_the_papers_contradiction_is_shown(tmp_path):
    one = verdict_for(tmp_path, [62.94], method="mmss", dataset="amazon", metric="ndcg@5")
    assert (one.published.printed, [other.printed for other in one.others]) == ("63.3", ["62.94"])
    (setting,) = group_settings(load_runs(tmp_path))
    text = compare(setting).render()
    assert "63.3, 62.94 (Table 4)" in text
    assert "the paper prints 63.3 in Table 2, 62.94 in Table 4" in text


def test_ablations_are_compared_with_table_4(tmp_path):
    for seed in range(3):
        write_run(
            tmp_path, "mmss", seed, products=["a", "b"], values=[0.6534] * 2, drop=("b",), papers_data=True
        )
    (setting,) = group_settings(load_runs(tmp_path))
    one = next(one for one in compare(setting).verdicts if one.drop == ("b",) and one.metric == "map")
    assert (one.published.printed, one.verdict) == ("65.34", "OK")


def test_a_synthetic_corpus_is_not_compared(tmp_path):
    write_grid(tmp_path, {"mcr": 0.686}, seeds=[0], synthetic=True, corpus="mini")
    (setting,) = group_settings(load_runs(tmp_path))
    report = compare(setting)
    assert report.verdicts == ()
    assert not report.failed
    assert "mini is synthetic" in report.render()
    assert "Not the paper's data" in report.to_json()["meaningless"]


def test_other_data_than_the_papers_is_pointed_out(tmp_path):
    write_run(tmp_path, "mcr", 0)
    (setting,) = group_settings(load_runs(tmp_path))
    report = compare(setting)
    assert report.verdicts == ()
    assert "(CS&J): 30 train products where Table 3 prints 6,598." in report.render()
    json.dumps(report.to_json(), allow_nan=False)


def test_only_the_categories_with_the_papers_counts_are_judged(tmp_path):
    write_run(tmp_path, "mcr", 0)
    write_run(tmp_path, "mcr", 0, category="home", papers_data=True)
    (setting,) = group_settings(load_runs(tmp_path))
    report = compare(setting)
    assert {one.category for one in report.verdicts} == {"home", "electronics"}
    assert any("(CS&J)" in note for note in report.notes)
