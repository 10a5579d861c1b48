"""The published numbers: complete, addressable by our names, and their contradictions found."""

import pytest

from benchmark import models
from benchmark.data.datasets import BUILT_IN, LAZADA
from benchmark.data.published import (
    METHOD_LABELS,
    METRIC_LABELS,
    PART_LABELS,
    inconsistencies,
    load_published,
    published_count,
    published_label,
    published_value,
    published_values,
)


def test_every_cell_of_tables_1_and_2_is_there():
    assert list(METHOD_LABELS) == list(models.DEFAULT_METHODS)
    for table, dataset in ((1, "lazada"), (2, "amazon")):
        for category in LAZADA.category_names:
            for method in models.DEFAULT_METHODS:
                for metric in METRIC_LABELS:
                    value = published_value(dataset, category, method, metric, table=table)
                    assert 30 < value.value < 85


def test_every_row_of_table_4_is_there():
    for dataset in BUILT_IN:
        for part in PART_LABELS:
            value = published_value(dataset, "clothing", "mmss", "map", table=4, drop=[part])
            assert value.value < published_value(dataset, "clothing", "mmss", "map", table=4).value


def test_known_values_and_who_produced_them():
    value = published_value("lazada", "clothing", "mmss", "map", table=1)
    assert (value.printed, value.significant, value.origin) == ("71.7", True, "Table 1")
    assert value.half_unit == pytest.approx(0.05)
    copied = published_value("amazon", "home", "mcl", "ndcg@5", table=2)
    assert (copied.printed, copied.attributed_to) == ("57.8", "mcl-2022")


def test_table_3():
    assert published_count("lazada", "clothing", "test", "products") == 2063
    assert published_count("amazon", "home", "train", "reviews") == 369518
    assert all(published_count(d, c, "dev", "reviews") for d in BUILT_IN for c in LAZADA.category_names)


def test_two_values_for_one_cell_are_found_and_a_rounding_is_not_one():
    assert [value.printed for value in published_values("lazada", "clothing", "mmss", "map")] == [
        "71.7",
        "71.73",
    ]
    (found,) = inconsistencies()
    assert (found.dataset, found.category, found.metric) == ("Amazon-MRHP", "CS&J", "N@5")
    assert "63.3 in Table 2, 62.94 in Table 4" in str(found)


def test_what_no_table_prints_has_no_value():
    assert published_values("lazada", "clothing", "sancl", "map") == []
    assert published_value("lazada", "home", "mmss", "map", table=4) is None
    assert published_label("mmss", ("ptrt", "pvrv")) == "MM-SS w/o intra-modal-ptrt+intra-modal-pvrv"
    assert not published_values("lazada", "clothing", "mmss", "map", ("ptrt", "pvrv"))


def test_every_row_parses():
    values = load_published()
    assert len(values) == 247
    assert all(value.value > 0 for value in values)
