"""Speed measurement: what is counted and how it is put together. No test asserts a time."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.core.errors import UsageError
from benchmark.data.published import published_count
from benchmark.engine import machine
from benchmark.engine.plan import Choices
from benchmark.speed import operations, report
from tests.command_line import bench
from tests.speed import reference
from tests.speed.page import PARTS, with_parts


def _lstm_by_products(x_NTE: Tensor, lstm: nn.LSTM) -> Tensor:
    """The same LSTM in matrix products that a counter sees."""
    input_weight, hidden_weight, input_bias, hidden_bias = lstm.parameters()
    hidden = cell = x_NTE.new_zeros(len(x_NTE), lstm.hidden_size)
    for x_NE in x_NTE.unbind(1):
        gates = x_NE @ input_weight.T + hidden @ hidden_weight.T + input_bias + hidden_bias
        enter, forget, value, out = gates.chunk(4, 1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * value.tanh()
        hidden = out.sigmoid() * cell.tanh()
    return hidden


def test_operations_of_an_lstm_are_those_of_its_matrix_products() -> None:
    lstm, x_NTE = nn.LSTM(5, 3, batch_first=True), torch.randn(4, 6, 5, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with counter:
        by_products = _lstm_by_products(x_NTE, lstm)
        by_products.sum().backward()
    with operations.lstm_operations(nn.Sequential(lstm)) as counted:
        output = lstm(x_NTE)[0][:, -1]
    torch.testing.assert_close(output, by_products)
    # the first step has no gradient of its hidden state to compute
    assert sum(counted) - counter.get_total_flops() == 2 * 4 * 12 * 3
    assert len(counted) == 1


def test_peak_memory_is_this_process_own_and_grows_with_what_it_holds() -> None:
    before = machine.peak_host_bytes()
    held = torch.ones(before // 4 + (8 << 20))  # as float32 more than the process ever held
    assert machine.peak_host_bytes() >= before + (16 << 20)
    assert held.sum() > 0


def test_peak_operations_come_from_the_best_product(monkeypatch: pytest.MonkeyPatch) -> None:
    # two readings of the clock for each product, made in two ways each time: the fastest takes 2 seconds
    clock = iter([0, 9, 10, 14, 20, 22, 30, 35])
    monkeypatch.setattr(operations.time, "perf_counter", lambda: next(clock))
    monkeypatch.setitem(operations.MATRIX, "cpu", 64)
    assert operations.peak_flops(torch.device("cpu"), "float32", repeats=1) == 2 * 64**3 / 2


def test_grid_time_is_the_sum_over_the_papers_categories() -> None:
    profile = {
        "steps_per_epoch": 5, "rows_per_step": 8.0, "train_rows_per_s": 100.0, "score_reviews_per_s": 50.0,
    }  # fmt: skip
    spec = SimpleNamespace(config={"training": {"epochs": 3}})
    seconds = report.grid_seconds(spec, profile, n_train_reviews=20)  # type: ignore[arg-type]
    places = [(d, c) for d in ("lazada", "amazon") for c in ("clothing", "electronics", "home")]
    count = {
        split: sum(published_count(*place, split, "reviews") for place in places)
        for split in ("train", "dev", "test")
    }  # type: ignore[misc]
    assert count["train"] == 104121 + 41862 + 37014 + 277322 + 259953 + 369518
    # 40 rows of 20 reviews an epoch: two rows per review
    expected = 5 * (3 * 2 * count["train"] / 100 + (3 * count["dev"] + count["test"]) / 50)
    assert seconds == pytest.approx(expected)


def choices(*overrides: str, preset: str = "paper", methods: tuple[str, ...] = ("mmss",)) -> Choices:
    return Choices(("amazon",), ("home",), methods, (0,), preset=preset, overrides=overrides, device="cpu")


def test_the_default_encoder_has_a_stand_in_of_its_size_only_where_it_is_not_here(tmp_path: Path) -> None:
    model = dict(item.split("=") for item in report.stand_in(choices()))
    assert (model["mmss.scratch_layers"], model["mmss.scratch_width"]) == ("12", "128")
    assert report.stand_in(choices(preset="quick")) == (), "the preset's own reads words"
    assert report.stand_in(choices("mmss.encoder=scratch")) == ()
    assert report.stand_in(choices(methods=("mcr",))) == ()
    with pytest.raises(UsageError, match=r"there is no folder"):
        report.stand_in(choices(f"mmss.encoder={tmp_path / 'nothing'}"))


def test_what_is_timed_is_what_bench_run_would_run(
    tmp_path: Path, corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same options to both commands: one configuration, device and number of jobs."""
    options = [
        "--method", "mcr", "--method", "mmss", "--precision", "bf16", "--set", "batch_size=4",
        "--set", "train.threads=1", "--set", "mcr.common=8", "--protocol", "fair", "--jobs", "1",
    ]  # fmt: skip
    seen: list[report.Request] = []
    monkeypatch.setattr(report, "measure_all", lambda request, source: seen.append(request) or [])
    bench("speed", *options, "--json", "--products", "2", "--cache", str(cache))
    timed = report.specs_of(seen[0], report.speed_corpus(2, cache))
    where = "--data", str(corpus), "--cache", str(cache), "--results", str(tmp_path)
    place = "--dataset", "amazon", "--category", "home", "--seeds", "0"
    listed = json.loads(bench("run", *options, *where, *place, "--dry-run", "--json").stdout)
    assert listed["jobs"] == seen[0].jobs == 1
    assert [run["method"] for run in listed["runs"]] == [spec.method for spec in timed]
    from benchmark.data.source import Source
    from benchmark.engine.plan import expand

    run = expand(
        Choices(
            *(("amazon",), ("home",), ("mcr", "mmss"), (0,)),
            overrides=("batch_size=4", "train.threads=1", "mcr.common=8", "train.precision=bf16"),
        ),
        [Source(corpus, cache).open("amazon", "home")],
    )
    assert [(spec.config, spec.device, spec.overrides) for spec in run] == [
        (spec.config, spec.device, spec.overrides) for spec in timed
    ]


def test_a_request_that_measures_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--steps must be at least 1"):
        report.Request(choices(), steps=0)


def profile(**other: object) -> dict[str, object]:
    return {
        "train_rows_per_s": 10.0, "score_reviews_per_s": 30.0, "data_wait_share": 0.1, "flops_per_row": 2e9,
        "peak_flops_per_s": 4e10, "peak_memory_bytes": 5, "phase_shares": {"data": 0.25, "forward": 0.75},
    } | other  # fmt: skip


def test_jobs_side_by_side_are_added_up() -> None:
    both = report.together([profile(), profile(train_rows_per_s=6.0, peak_memory_bytes=7)])
    assert (both["train_rows_per_s"], both["score_reviews_per_s"]) == (16, 60)
    assert both["peak_share"] == pytest.approx(16 * 2e9 / 8e10)
    assert (both["peak_memory_bytes"], both["memory_of_all_bytes"]) == (7, 12)
    assert both["phase_shares"] == {"data": 0.25, "forward": 0.75}


def test_no_share_of_the_peak_is_above_one() -> None:
    assert report.together([profile(train_rows_per_s=21.0)])["peak_share"] is None


def test_command_prints_one_list_with_a_failure_as_such(tmp_path: Path) -> None:
    result = bench(
        "speed", "--method", "prhnet", "--method", "mcr", "--threads", "1", "--jobs", "1", "--steps", "1",
        "--products", "2", "--set", "mcr.kernels=2", "--json", "--cache", str(tmp_path), code=1,
    )  # fmt: skip
    prhnet, mcr = json.loads(result.stdout)["results"]
    assert result.stderr == ""
    assert (prhnet["method"], prhnet["variant"], prhnet["threads"], prhnet["jobs"]) == (
        "prhnet",
        "fair",
        1,
        1,
    )
    assert prhnet["peak_memory_bytes"] > 50e6
    assert prhnet["peak_device_memory_bytes"] is None
    assert min(prhnet["train_rows_per_s"], prhnet["score_reviews_per_s"], prhnet["grid_seconds"]) > 0
    assert 0 <= prhnet["data_wait_share"] <= 1
    assert sum(prhnet["phase_shares"].values()) == pytest.approx(1)
    assert prhnet["flops_per_row"] > 1e6
    assert 0 < prhnet["peak_share"] < 1
    assert "error" in mcr
    assert "train_rows_per_s" not in mcr


def test_corpus_has_full_length_texts_and_is_made_once(tmp_path: Path) -> None:
    source = report.speed_corpus(2, tmp_path)
    made = source.root.stat().st_mtime_ns
    corpus = report.speed_corpus(2, tmp_path).open(*report.PLACE)
    assert source.root.stat().st_mtime_ns == made
    assert corpus.train.n_reviews == 32
    assert corpus.train.word_count_R.mean() > 100
    assert corpus.train.rois("review").flat.shape[1] == 2048


def test_reference_script_marks_what_misses_its_target() -> None:
    (case,) = reference.cases(["prhnet"])
    run = {"training": 153 * 2.6, "scoring": 985 * 2.0, "memory": 0.69, "machine": 158.0}
    row, _, source = reference.report([case], {case.name: [run] * 3}, []).splitlines()[2:]
    assert row.endswith("| 158 |"), "the day's matrix product stands beside the ratio"
    assert "2.6 (2.5) |" in row
    assert "2.0 (3) ! |" in row
    assert "0.99 (1) |" in row
    assert source.startswith("Reference of prhnet: released code")


def test_ours_is_measured_at_the_references_lengths() -> None:
    for case in reference.cases():
        images = case.method == "mcr"
        batch = reference.batch_of(SimpleNamespace(reads_images=images), case.lengths, case.rows // 8, seed=0)
        assert (len(batch), batch.group_size) == (case.rows, 8)
        assert (
            batch.products.token_NT.shape[1]
            == batch.products.token_count_N.min()
            == case.lengths.product_tokens
        )
        assert (
            batch.reviews.token_NT.shape[1] == batch.reviews.token_count_N.min() == case.lengths.review_tokens
        )
        if images:
            assert batch.products.roi_count_N.tolist() == [case.lengths.product_rois] * len(batch.products)
            assert batch.reviews.roi_NVF.shape[1:] == (case.lengths.review_rois, 2048)
    (quiet,) = {case.source for case in reference.cases(["mcr", "bimpm", "convknrm"])}
    assert reference.RELEASED["sources"][quiet]["matrix_product_gflops"] == 184


def test_the_page_keeps_what_was_not_measured() -> None:
    page = "# A\n<!-- measured: machine -->\nold\n<!-- end -->\nkept\n<!-- measured: methods -->\nold\n<!-- end -->\n"
    made = with_parts(page, {"methods": "| new |\n"})
    assert made == page.replace("methods -->\nold", "methods -->\n| new |")
    with pytest.raises(ValueError, match="no <!-- measured: reference -->"):
        with_parts(page, {"reference": ""})


def test_the_page_has_a_place_for_every_part() -> None:
    page = Path(__file__).parents[2] / "results" / "speed.md"
    made = {name: f"made {name}" for name in PARTS}
    assert all(text in with_parts(page.read_text(), made) for text in made.values())
