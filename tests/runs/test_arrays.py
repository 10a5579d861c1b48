"""Scores as arrays: the same numbers as the tables of before, shared ids, nothing read that is of other reviews."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.core.errors import DataError
from benchmark.core.metrics import METRICS, per_product_table
from benchmark.report.export import export, opened
from benchmark.runs import reviews, stored
from benchmark.runs.arrays import from_npy, to_npy
from benchmark.runs.files import is_done
from benchmark.runs.merge import merge
from benchmark.runs.store import load_runs, rescored
from benchmark.runs.writer import write_data_files
from tests.fixtures_runs import reseal, write_run

PRODUCTS = [f"P{i:03}" for i in (7, 3, 11, 0, 5, *range(20, 40))]
"""Not in the order of their names."""


@pytest.fixture
def both(tmp_path):
    """The same runs twice: their scores as arrays, and as the tables that a version of before wrote."""
    for method in ("mcr", "mmss", "bimpm"):
        for seed in range(3):
            write_run(tmp_path / "new", method, seed, products=PRODUCTS, arrays=True, parts=("one", "two"))
    for run in load_runs(tmp_path / "new"):
        as_before(run, tmp_path / "old")
    (data,) = (tmp_path / "new").glob("data/*/*/*")
    manifest, test = ((data / name).read_text() for name in ("manifest.json", "test.csv"))
    before = tmp_path / "old" / data.relative_to(tmp_path / "new")
    before.mkdir(parents=True)
    write_data_files(before, "f" * 64, manifest, test)
    return tmp_path / "new", tmp_path / "old"


def as_before(run, results):
    """The run's folder as tables, from the arrays on disk and without the code that reads them."""
    folder = results / run.folder.relative_to(run.results)
    folder.mkdir(parents=True)
    for name in ("config.json", "meta.json", "log.jsonl"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    test = pd.read_csv(next((run.results / "data").rglob("test.csv")))
    score, parts = (np.load(run.folder / name) for name in ("scores.npy", "parts.npy"))
    table = test[["review_id", "product_id", "label"]].assign(
        score=[repr(float(one)) for one in score],
        **{name: [repr(float(one)) for one in parts[name]] for name in parts.dtype.names},
    )
    table.to_csv(folder / "scores.csv", index=False, lineterminator="\n")
    row = {product: number for number, product in enumerate(PRODUCTS)}
    values = per_product_table(
        PRODUCTS, test["product_id"].map(row).to_numpy(), test["label"], score.astype(np.float64), 0
    )
    values.to_csv(folder / "per_product.csv", index=False, lineterminator="\n")
    names = ("config.json", "meta.json", "log.jsonl", "scores.csv", "per_product.csv")
    mark = {"identity": run.id, "files": dict.fromkeys(names, "")}
    (folder / "done").write_text(json.dumps(mark))
    reseal(folder)


def test_a_reviews_product_is_found_by_its_id():
    """Reviews that name the products in another order than the data lists them, and a product without any."""
    rows = pd.DataFrame({"review_id": list("abcde"), "product_id": ["Q", "R", "Q", "P", "R"], "label": 1})
    data = reviews.TestData(rows, ("P", "Q", "none", "R"))
    np.testing.assert_array_equal(data.product_R, [1, 3, 1, 0, 3])
    np.testing.assert_array_equal(data.appearance, [1, 3, 0])


def test_the_same_numbers_as_tables_bit_for_bit(both):
    new, old = (load_runs(folder) for folder in both)
    assert len(new) == len(old) == 9
    for threshold, ties in ((None, "expected"), (1, "expected"), (None, "file-order")):
        for a, b in zip(rescored(new, threshold, ties), rescored(old, threshold, ties), strict=True):
            assert (a.in_arrays, b.in_arrays) == (True, False)
            assert a.products == b.products == tuple(PRODUCTS)
            pd.testing.assert_frame_equal(a.per_product, b.per_product, check_exact=True)
            pd.testing.assert_frame_equal(a.scores, b.scores, check_exact=True)
            pd.testing.assert_frame_equal(a.test_reviews, b.test_reviews, check_exact=True)
            for name in METRICS:
                assert a.values(name).tobytes() == b.values(name).tobytes()
            assert a.random_values("map").tobytes() == b.random_values("map").tobytes()
            assert a.n_relevant.tolist() == b.n_relevant.tolist()
            assert repr(a.tie_gain()) == repr(b.tie_gain())


@pytest.mark.parametrize(
    "words",
    [
        ["table", "lazada"],
        ["table", "lazada", "--threshold", "1", "--ties", "file-order", "--json"],
        ["stats", "lazada", "--against", "all", "--robust", "--json"],
        ["compare", "lazada", "--json"],
        ["claims", "--json"],
    ],
)
def test_the_same_output_as_from_tables(both, words):
    a, b = (CliRunner().invoke(app, [*words, "--results", str(folder)]) for folder in both)
    assert a.exit_code in (0, 4), a.output
    assert (a.exit_code, a.stdout) == (b.exit_code, b.stdout)


def test_a_run_as_tables_and_as_arrays_is_one_run(both, tmp_path):
    merged = merge(list(both), tmp_path / "together")
    assert (len(merged.copied), merged.present) == (9, 9)
    assert {run.in_arrays for run in load_runs(tmp_path / "together")} == {True}
    # arrays that come to a folder of before bring the order of the products with them
    third = tmp_path / "third"
    write_run(third, "mcl", products=PRODUCTS, arrays=True)
    assert len(merge([third], both[1]).copied) == 1
    assert [run.products for run in load_runs(both[1]) if run.in_arrays] == [tuple(PRODUCTS)]


def test_values_per_product_may_be_left_out_and_are_made_of_the_scores(both):
    new = both[0]
    wanted = [run.per_product for run in load_runs(new)]
    for run in load_runs(new):
        (run.folder / "per_product.npy").unlink()
    stored._VALUES.__init__(1 << 20, lambda values: 1)
    for run, table in zip(load_runs(new), wanted, strict=True):
        assert is_done(run.spec, new)
        pd.testing.assert_frame_equal(run.per_product, table, check_exact=True)


def test_an_export_has_arrays_without_what_they_give(both, tmp_path):
    new, old = (load_runs(folder) for folder in both)
    export(new, {}, tmp_path / "a.zip")
    with opened(tmp_path / "a.zip") as folder:
        for run, before in zip(load_runs(folder), old, strict=True):
            assert not (run.folder / "per_product.npy").exists()
            pd.testing.assert_frame_equal(run.per_product, before.per_product, check_exact=True)
            pd.testing.assert_frame_equal(run.scores, before.scores, check_exact=True)


def one(results):
    write_run(results, "mcr", products=PRODUCTS, arrays=True, parts=("one",))
    (run,) = load_runs(results)
    (data,) = results.glob("data/*/*/*")
    return run, data


def test_scores_of_other_reviews_are_refused(tmp_path):
    _, data = one(tmp_path)
    test = (data / "test.csv").read_text()
    first, second, *rest = test.splitlines()[1:]
    assert first != second
    for changed in (
        [second, first, *rest],  # the order
        [first.replace(",0,", ",4,", 1), second, *rest],  # a label
        [first, second, *rest[:-1]],
    ):
        text = "\n".join([test.splitlines()[0], *changed]) + "\n"
        products = (data / "products.csv").read_text()
        write_data_files(data, "f" * 64, (data / "manifest.json").read_text(), text, products)
        (again,) = load_runs(tmp_path)
        with pytest.raises(DataError, match=r"test\.csv: not the test reviews"):
            _ = again.scores
    products = "\n".join(["product_id", *reversed(PRODUCTS)]) + "\n"
    write_data_files(data, "f" * 64, (data / "manifest.json").read_text(), test, products)
    with pytest.raises(DataError, match="not the test reviews"):
        _ = load_runs(tmp_path)[0].per_product


def test_a_folder_without_the_order_of_the_products_says_what_to_do(tmp_path):
    run, data = one(tmp_path)
    texts = [(data / name).read_text() for name in ("manifest.json", "test.csv")]
    (data / "products.csv").unlink()
    write_data_files(data, "f" * 64, *texts)
    with pytest.raises(DataError, match=r"no products\.csv"):
        _ = run.per_product


@pytest.mark.parametrize("name", ["scores.npy", "per_product.npy", "parts.npy"])
def test_arrays_of_another_length_are_refused(tmp_path, name):
    run, _ = one(tmp_path)
    array = np.load(run.folder / name)
    (run.folder / name).write_bytes(to_npy(array[:-1]))
    reseal(run.folder)
    (again,) = load_runs(tmp_path)
    try:
        said = again.contradiction()
    except DataError as error:
        said = str(error)
    assert name in said


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("kept", [True, False])
def test_a_score_that_is_no_number_is_a_contradiction(tmp_path, number, kept):
    """Also of an export, which leaves out the values per product: nothing else would look at the scores yet."""
    run, _ = one(tmp_path)
    scores = np.load(run.folder / "scores.npy")
    scores[1] = number
    (run.folder / "scores.npy").write_bytes(to_npy(scores))
    reseal(run.folder)
    if not kept:
        (run.folder / "per_product.npy").unlink()
    (again,) = load_runs(tmp_path)
    assert again.contradiction().endswith("scores.npy: not all scores are finite")
    export([again], {}, tmp_path / "runs.zip")
    with pytest.raises(DataError, match="not all scores are finite"), opened(tmp_path / "runs.zip"):
        pass


def test_a_score_that_was_changed_is_noticed_though_the_mark_agrees(tmp_path):
    run, _ = one(tmp_path)
    assert run.contradiction() == ""
    (run.folder / "scores.npy").write_bytes(to_npy(-np.load(run.folder / "scores.npy")))
    reseal(run.folder)
    (again,) = load_runs(tmp_path)
    assert again.contradiction().endswith("per_product.npy: map is not what the scores give")
    with pytest.raises(DataError, match=r"per_product\.npy"):
        merge([tmp_path], tmp_path.with_name("other"))


def bomb(shape, descr="<f4"):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        bomb((10**15,)),
        bomb((-4,)),
        bomb((2, 2)),
        bomb((4,), "|O"),
        bomb((4,), "<i4"),
        to_npy(np.zeros(4, dtype=np.float32))[:-1],
        b"\x93NUMPY\x02\x00" + b"\0" * 99,
        pickle.dumps([1.0]),
    ],
)
def test_what_is_no_list_of_floats_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"x\.npy: not an array"):
        from_npy(content, tmp_path / "x.npy")


def test_arrays_come_back_and_equal_ones_give_equal_bytes(tmp_path):
    array = np.array([0.1, -0.0, 3e38], dtype="<f4")
    assert from_npy(to_npy(array), tmp_path / "x").tobytes() == array.tobytes()
    assert to_npy(array) == to_npy(array.copy())
    (tmp_path / "x.npy").write_bytes(to_npy(array))
    assert np.load(tmp_path / "x.npy").tobytes() == array.tobytes()


def test_what_was_read_last_is_kept_within_its_bounds():
    held = reviews.Recent[int, bytes](10, len)
    made = []

    def make(key, size):
        made.append(key)
        return bytes(size)

    for key in (1, 2, 1, 3, 1, 2):
        held.get(key, lambda k=key: make(k, 4))
    assert made == [1, 2, 3, 2]  # 2 had not been asked for the longest when 3 came
    held.get(9, lambda: make(9, 100))  # larger than all room: kept until the next
    held.get(9, lambda: make(9, 100))
    assert made[4:] == [9]
