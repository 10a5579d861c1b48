"""From names to a resolved configuration."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.data.datasets import AMAZON, LAZADA, DataSet, generic
from benchmark.engine.config import TrainingConfig
from benchmark.engine.resolve import PRESETS, QUICK_DROPOUT, qualify_overrides, quick_reasons, resolve


def resolved(method: str = "egcnn", *assignments: str, preset: str = "quick", protocol: str = "fair"):  # type: ignore[no-untyped-def]
    overrides = qualify_overrides(assignments, [method])
    return resolve(method, AMAZON, "home", preset=preset, protocol=protocol, overrides=overrides)


def test_an_override_wins_over_preset_and_protocol() -> None:
    setting = resolved("egcnn", "epochs=3", "train.margin=2")
    assert setting.training.epochs == 3
    assert setting.training.margin == 2.0
    assert setting.overrides == ("train.epochs=3", "train.margin=2")


def test_fair_gives_every_method_the_same_budget() -> None:
    for preset in PRESETS:
        budgets = {
            resolve(name, LAZADA, "home", preset=preset, protocol="fair").training for name in models.METHODS
        }
        assert len(budgets) == 1


def test_the_paper_preset_is_the_dataclass_defaults() -> None:
    assert resolved(preset="paper").training == TrainingConfig()


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [
        ("epoch=3", "epochs"),
        ("train.epoch=3", "train.epochs"),
        ("egcnn.filter=3", "egcnn.filters"),
        ("egcn.filters=3", "egcnn"),
        ("mcr.hidden=3", "not among the selected"),
        ("epochs", "key=value"),
    ],
)
def test_unknown_keys_are_errors_with_near_misses(assignment: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        resolved("egcnn", assignment)


@pytest.mark.parametrize(
    "assignment", ["epochs=x", "epochs=1.5", "epochs=true", "weighted_negatives=2", "margin=no"]
)
def test_values_of_the_wrong_type_are_errors(assignment: str) -> None:
    with pytest.raises(UsageError, match="not a value of type"):
        resolved("egcnn", assignment)


def test_a_key_given_twice_is_an_error() -> None:
    with pytest.raises(UsageError, match="twice"):
        resolved("egcnn", "epochs=1", "epochs=2")


@pytest.mark.parametrize(("kind", "value"), [("preset", "quik"), ("protocol", "fare")])
def test_unknown_bundles_are_errors_with_near_misses(kind: str, value: str) -> None:
    with pytest.raises(UsageError, match="Did you mean"):
        resolved("egcnn", **{kind: value})


def test_a_bare_key_reaches_every_selected_method_that_has_it() -> None:
    qualified = qualify_overrides(["embedding=8", "d_g=16"], ["egcnn", "mcr", "mmss"])
    assert qualified == {"egcnn.embedding": "8", "mcr.embedding": "8", "mmss.d_g": "16"}


@pytest.mark.parametrize("key", ["mmss.drop", "drop"])
def test_parts_are_dropped_by_the_command_for_it(key: str) -> None:
    """A run's name holds what it drops, so `--set` would be overwritten; the message says what to type."""
    with pytest.raises(UsageError, match="bench ablate --drop d --drop ptrt"):
        qualify_overrides([f"{key}=d,ptrt"], ["mmss"])


@pytest.mark.parametrize("method", models.METHODS)
def test_quick_changes_sizes_and_the_rest_with_a_reason(method: str) -> None:
    """Whole numbers (and lists of them) are sizes; every other field that it moves has its reason."""
    paper, quick = (
        dataclasses.asdict(resolve(method, AMAZON, "home", preset=preset, protocol="fair").model)
        for preset in ("paper", "quick")
    )
    reasons = quick_reasons(method)
    for name, value in quick.items():
        numbers = value if isinstance(value, tuple) else (value,)
        is_size = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
        known = is_size or ("dropout" in name and value == min(paper[name], QUICK_DROPOUT))
        assert value == paper[name] or known or f"{method}.{name}" in reasons, name


def test_what_a_released_form_has_none_of_gets_no_quick_size() -> None:
    """EG-CNN's released code has no character part, and its released form cannot hold one."""
    fair, released = (
        resolve("egcnn", LAZADA, "home", preset="quick", protocol=protocol)
        for protocol in ("fair", "released")
    )
    assert (dataclasses.asdict(fair.model)["char_filters"], fair.model.embedding) == (12, 48)
    assert (dataclasses.asdict(released.model)["char_filters"], released.model.embedding) == (0, 48)


def test_quick_treats_all_dropouts_alike() -> None:
    assert resolved("mcl").model.joint_dropout == resolved("mcl").model.embedding_dropout == 0.1
    assert resolved("bimpm").model.dropout == 0.1
    assert resolved("convknrm").model.embedding_dropout == 0.0, "a rate that is lower stays"
    assert resolved("mmss").model.encoder_dropout == 0.1
    assert resolved("mcl").model.contrast_scale == 256.0
    assert resolved("mcl", "mcl.dropout=0.4").model.dropout == 0.4


WIDE = {("mcl", "lazada", "clothing"), ("mcr", "lazada", "clothing")} | {
    ("mcl", "amazon", category) for category in ("clothing", "electronics", "home")
}


@pytest.mark.parametrize("method", ["mcl", "mcr"])
@pytest.mark.parametrize("data_set", [LAZADA, AMAZON, generic("shop")])
@pytest.mark.parametrize("category", ["clothing", "electronics", "home"])
@pytest.mark.parametrize("protocol", ["fair", "released"])
def test_the_common_space_has_the_released_width(
    method: str, data_set: DataSet, category: str, protocol: str
) -> None:
    if protocol == "released" and not data_set.released_as:
        pytest.skip("nothing was released for it")
    setting = resolve(method, data_set, category, preset="paper", protocol=protocol)
    assert setting.model.common == (128 if (method, data_set.name, category) in WIDE else 64)
    assert resolve(method, data_set, category, preset="quick", protocol=protocol).model.common == 16


def test_the_content_of_an_encoder_counts_not_only_its_name(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    from benchmark.encoders import pretrained

    BertModel(
        BertConfig(
            vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
    ).save_pretrained(tmp_path)
    before = models.load("mmss").files_read(resolved("mmss", f"encoder={tmp_path}").model)
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    pretrained._content_hash.cache_clear()
    after = models.load("mmss").files_read(resolved("mmss", f"encoder={tmp_path}").model)
    assert before["encoder"] != after["encoder"]
    assert models.load("egcnn").files_read(resolved("egcnn").model) == {}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("precision=bf17", "float32 or tf32 or bf16"),
        ("epochs=0", "at least 1"),
        ("patience=-1", "from 0"),
        ("learning_rate=0", "positive"),
        ("learning_rate=1e999", "finite"),
        ("batch_unit=rows", "pairs"),
        ("loss=hing", "hinge"),
    ],
)
def test_values_that_cannot_be_trained_with_are_refused_before_any_run(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved("egcnn", assignment)


@pytest.mark.parametrize(("data_set", "threshold"), [(LAZADA, 0), (AMAZON, 1)])
def test_released_runs_of_a_data_set_share_one_relevance_threshold(data_set: DataSet, threshold: int) -> None:
    """MM-SS and EG-CNN too, whose own files say nothing or another data set's."""
    for category in data_set.category_names:
        found = {
            name: resolve(name, data_set, category, preset="paper", protocol="released").training
            for name in models.METHODS
        }
        assert {training.relevance_threshold for training in found.values()} == {threshold}


def test_nobody_gets_the_released_settings_of_another_data_set_unasked() -> None:
    own = generic("myshop", ["tools"])
    for name in models.METHODS:
        with pytest.raises(UsageError, match="released_like"):
            resolve(name, own, "tools", preset="quick", protocol="released")
        like = replace(own, released_like="amazon")
        stated = resolve(name, like, "tools", preset="paper", protocol="released").training
        assert stated.relevance_threshold == 1
        # another category of Amazon than home, for which BiMPM, MCL and SANCL have a setting of their own
        assert stated == resolve(name, AMAZON, "tools", preset="paper", protocol="released").training
    with pytest.raises(KeyError):
        models.load("convknrm").released_training("myshop", "tools")


def test_an_override_that_changes_nothing_is_none() -> None:
    """Its run is the plain run: recorded as one, or two tables would show the same numbers."""
    plain = resolved("mcr")
    again = resolved(
        "mcr", f"epochs={plain.training.epochs}", "train.margin=1", f"hidden={plain.model.hidden}"
    )
    assert again.overrides == ()
    assert again.to_json() == plain.to_json()
    assert resolved("mcr", "epochs=3", "train.margin=1.0").overrides == ("train.epochs=3",)
    assert resolved("mcr", "text_encoder=words").overrides == ()
    assert resolved("mmss", f"d_g={resolved('mmss').model.d_g}").overrides == ()


def test_where_categories_or_methods_differ_it_is_recorded_for_all() -> None:
    """MCL's common space has 128 on Amazon: one table for the override, whichever cells had the value before."""
    assert resolved("mcl", "common=128", preset="paper").overrides == ("mcl.common=128",)
    rate = resolved("mcr", protocol="released").training.learning_rate
    given = resolved("mcr", f"train.learning_rate={rate}", protocol="released")
    assert given.overrides == (f"train.learning_rate={rate}",)
