"""The self-check passes on the shipped goldens, and fails, by name, on whatever is wrong.

The mutation tests change one detail of a network, a loss, a metric or a sampler at a time: a check that did
not notice would be worth nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines import bimpm, convknrm, egcnn, mcl, mcr
from baselines.parts import contrast, encoders, graph, layers, matching, recurrent, selective
from benchmark.checks import goldens
from benchmark.checks.reference import our_names
from benchmark.checks.selfmm import SelfMMLabels
from benchmark.core.errors import DataError
from benchmark.engine import pairs
from benchmark.kernels.arrays import MASKED

GOLDENS = Path(str(goldens.files("benchmark") / "checks" / "recorded"))
CPU = torch.device("cpu")


def check(folder, precision="float64"):
    return {case.case: case for case in goldens.run_selfcheck(folder, CPU, precision)}


def copied(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(GOLDENS / name, folder / name)
    return folder


def altered(folder, name, change: Callable[[dict[str, np.ndarray]], None], source=None):
    """A copy of a golden after `change`."""
    folder.mkdir(exist_ok=True)
    with np.load(GOLDENS / (source or name)) as golden:
        arrays = {key: golden[key] for key in golden.files}
    change(arrays)
    np.savez(folder / name, **arrays)
    return folder


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_shipped_goldens_agree(precision):
    cases = check(None, precision)
    assert not [case for case in cases.values() if not case.ok]
    networks = {"bimpm", "convknrm", "egcnn", "prhnet", "mcr", "mcl", "sancl", "sancl_bert"}
    assert {name for name in networks for name in (name, f"{name}/b1")} <= cases.keys()
    assert {"losses/n7_r2", "metrics", "pairs/interval1_dup2_weighted", "selfmm_labels"} <= cases.keys()
    text = goldens.render(list(cases.values()))
    assert len(text.splitlines()) == len(cases) + 2
    assert f"{len(cases)} of {len(cases)} cases agree" in text


def test_more_batches_under_any_prefix(tmp_path):
    def add(arrays):
        arrays |= {key.replace("b1/", "b7/"): value for key, value in arrays.items() if key.startswith("b1/")}

    assert [*check(altered(tmp_path, "bimpm.npz", add))] == ["bimpm", "bimpm/b1", "bimpm/b7"]


def test_a_dropped_in_file_may_have_any_name(tmp_path):
    shutil.copy(GOLDENS / "egcnn.npz", tmp_path / "set2-mine.npz")
    shutil.copy(GOLDENS / "pairs.json", tmp_path / "other.json")
    (tmp_path / "README.md").write_text("not a golden")
    cases = check(tmp_path)
    assert {"set2-mine", "set2-mine/b1", "other/interval0_dup1_uniform"} <= cases.keys()
    assert all(case.ok for case in cases.values())


def test_one_batch_beyond_tolerance(tmp_path):
    def shift(arrays):
        arrays["b1/output/score_f64"] += 3e-8
        arrays["b1/output/score"] += 1e-3

    folder = altered(tmp_path, "prhnet.npz", shift)
    for precision, size in (("float64", 3e-8), ("float32", 1e-3)):
        cases = check(folder, precision)
        assert cases["prhnet"].ok
        assert not cases["prhnet/b1"].ok
        assert cases["prhnet/b1"].absolute == pytest.approx(size, rel=0.01)
        assert cases["prhnet/b1"].note.startswith("score differs by up to")


def set_method(name):
    def change(arrays):
        arrays["config"] = np.array(json.dumps({**json.loads(str(arrays["config"])), "method": name}))

    return change


def rename(old, new):
    return lambda arrays: arrays.__setitem__(new, arrays.pop(old))


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (set_method("php"), "unknown method 'php'"),
        (rename("param/linear.bias", "param/head.bias"), "map to nothing of ours"),
        (lambda arrays: arrays.pop("param/pr_aware_attn.w"), "missing: attention.w"),
        (lambda arrays: arrays.pop("output/score_f64"), "no output/score_f64"),
        (lambda arrays: arrays.__setitem__("output/extra_f64", np.ones(3)), "extra is recorded, but"),
        (lambda arrays: arrays.__setitem__("output/score_f64", np.ones((4, 1))), "score: "),
        (lambda arrays: arrays["input/text_left"].__setitem__((0, 0), 99), "index out of range"),
        (
            lambda arrays: arrays["param/linear.weight"].__setitem__((0, 0), np.nan),
            "score differs by up to nan",
        ),
    ],
)
def test_what_cannot_be_compared_is_a_named_failure(tmp_path, change, note):
    case = next(iter(check(altered(tmp_path, "prhnet.npz", change)).values()))
    assert not case.ok
    assert note in case.note
    assert note in goldens.render([case])


def test_files_that_are_no_goldens_are_failures_too(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "syntax.json").write_text("{")
    np.savez(tmp_path / "arrays.npz", x=np.ones(2))
    copied(tmp_path, "losses.npz")
    cases = check(tmp_path)
    assert cases.keys() == {"broken", "list", "syntax", "arrays", "losses"}
    assert not any(case.ok for case in cases.values())
    assert "losses.json" in cases["losses"].note
    assert cases["broken"].to_json()["absolute"] is None


def test_a_folder_without_goldens(tmp_path):
    with pytest.raises(DataError, match="no goldens"):
        check(tmp_path)
    with pytest.raises(DataError, match="no goldens"):
        check(tmp_path / "nowhere")


# Mutations


@dataclass(frozen=True)
class Mutation:
    """One detail changed; every case of `golden` that records it must fail."""

    golden: str
    owner: Any
    name: str
    replacement: Any


def attention(*, mask=True, transposed=False, axis=-1, summed=True, by_padded_length=False):
    """Product-aware attention with a detail off; `summed` over the review, as all but SANCL take it."""

    def changed(self, product, product_mask, review, review_mask):
        weight = self.w.T if transposed else self.w
        logit = review @ torch.relu(product @ weight + self.b).transpose(1, 2)
        if mask:
            logit = logit.masked_fill(~product_mask.unsqueeze(1), MASKED)
        aware = (review + logit.softmax(axis) @ product) * review_mask.unsqueeze(-1)
        if not summed:
            return aware
        # who divides this sum by the number of valid positions divides by the padded length
        share = review_mask.float().mean(1, keepdim=True) if by_padded_length else 1
        return aware.sum(1) * share

    def of_rows(self, product, review, rows):
        of_product, of_review = (
            [x[row] for x in side] for side, row in zip((product, review), rows, strict=True)
        )
        return changed(self, *of_product, *of_review)

    return of_rows if summed else changed


def lstm(change):
    """The bidirectional LSTM with its arguments or result changed."""
    original = recurrent.BiLSTM.forward
    return lambda self, x, count=None: change(functools.partial(original, self), x, count)


def one_step_short(run, x, count):
    return run(x, torch.full((len(x),), max(1, x.shape[1] - 1)) if count is None else count)


def swap_directions(run, x, count):
    forward, backward, last_forward, last_backward = run(x, count)
    return recurrent.States(backward, forward, last_backward, last_forward)


def with_own_encoder_for_review_images(model_class, reference, original=goldens.build):
    """MCR as one would expect it: the review's encoder, which the released code never uses, reads reviews."""
    model = original(model_class, reference)
    model.review_image = copy.deepcopy(model.product_image)
    renamed = {
        name.replace("rvw_img_encoder.", "prd_img_encoder."): value
        for name, value in reference.parameters.items()
        if name.startswith("rvw_img_encoder.")
    }
    ours = our_names(model_class, renamed)
    model.review_image.load_state_dict(
        {ours[name].removeprefix("product_image."): value for name, value in renamed.items()}
    )
    return model


def with_the_products_encoder_for_review_images(model_class, reference, original=goldens.build):
    """MCL with MCR's defect."""
    model = original(model_class, reference)
    model.review_image = model.product_image
    return model


def positives_by_value(product, label, *, gap, weighted=True, original=pairs.pair_plan):
    """The lowest labels dropped by value, not by their position in the product."""
    plan = original(product, label, gap=gap, weighted=weighted)
    keep = np.asarray(label)[plan.positive_G] > 1 + gap
    return dataclasses.replace(
        plan, positive_G=plan.positive_G[keep], start_G=plan.start_G[keep], stop_G=plan.stop_G[keep]
    )


def contrast_without_the_positive(x, y, negatives, margin, scale, original=contrast.adaptive_contrast):
    eye = torch.eye(x.shape[-2], dtype=torch.bool)
    return original(x, y, negatives & ~eye, margin, scale)


def unmasked_keys(self, roi, mask, original=encoders.RoiEncoder.forward):
    return original(self, roi, torch.ones_like(mask)) * mask.unsqueeze(-1)


def other_side_masked(self, x, mask, weight, mask_queries, original=selective.SelfAttention.forward):
    return original(self, x, mask, weight, not mask_queries)


def kernels(change, original=convknrm.kernel_sums):
    return lambda value, centres, *mask: original(value, [change(mu, sigma) for mu, sigma in centres], *mask)


def simple(original, change):
    """`original` behind a change of its arguments, which `change` returns as a tuple."""
    return lambda *args, **kwargs: original(*change(*args), **kwargs)


PAA = layers.ProductAwareAttention
MUTATIONS = {
    "product mask dropped": Mutation("prhnet", PAA, "summed", attention(mask=False)),
    "product mask dropped in MCR": Mutation("mcr", PAA, "summed", attention(mask=False)),
    "transposed weight": Mutation("prhnet", PAA, "summed", attention(transposed=True)),
    "transposed weight in SANCL": Mutation("sancl", PAA, "forward", attention(transposed=True, summed=False)),
    "softmax over the review": Mutation("prhnet", PAA, "summed", attention(axis=1)),
    "mean by padded length": Mutation("prhnet", PAA, "summed", attention(by_padded_length=True)),
    "LSTM over padding": Mutation(
        "prhnet", recurrent.BiLSTM, "forward", lstm(lambda run, x, count: run(x, None))
    ),
    "last step not the padded one": Mutation("bimpm", recurrent.BiLSTM, "forward", lstm(one_step_short)),
    "directions swapped": Mutation("bimpm", recurrent.BiLSTM, "forward", lstm(swap_directions)),
    "padding masked in matching": Mutation("bimpm", bimpm.BiMPM, "masked", True),
    "sign of attention sums kept": Mutation(
        "bimpm",
        bimpm,
        "weighted_mean",
        lambda weight, y, *, keep_sign, original=bimpm.weighted_mean: original(weight, y, keep_sign=True),
    ),
    "most attended state, not the maximum": Mutation(
        "bimpm", bimpm, "elementwise_maximum", lambda weight, y: bimpm.most_attended(weight, y, None)
    ),
    "perspective weights not squared": Mutation(
        "bimpm",
        bimpm,
        "weighted_cosines",
        simple(
            bimpm.weighted_cosines,
            lambda x, ys, weights, *mask: (x, ys, [w.abs().sqrt() for w in weights], *mask),
        ),
    ),
    "kernel widths without the 2": Mutation(
        "convknrm", convknrm, "kernel_sums", kernels(lambda mu, sigma: (mu, sigma / 2**0.5))
    ),
    "exact kernel not at 1": Mutation(
        "convknrm", convknrm, "kernel_sums", kernels(lambda mu, sigma: (mu if mu < 1 else 1.125, sigma))
    ),
    "cosines not normalised": Mutation("convknrm", convknrm, "unit_vectors", lambda x: x),
    "gate left out": Mutation("egcnn", torch, "sigmoid", torch.ones_like),
    "ReLU after the convolution": Mutation(
        "egcnn",
        egcnn.EGCNN,
        "_windows_maximum",
        lambda *args, original=egcnn.EGCNN._windows_maximum: original(*args).relu(),
    ),
    "no windows across the border": Mutation(
        "egcnn",
        egcnn.EGCNN,
        "_windows_maximum",
        lambda self, conv, k, x, *rest, original=egcnn.EGCNN._windows_maximum: original(
            self, conv, k, x if x.shape[1] != 2 * (k - 1) else x[:, : k - 1], *rest
        ),
    ),
    "product read with the review's table": Mutation(
        "egcnn", egcnn.EGCNN, "product_embedding", property(lambda self: self.review_embedding)
    ),
    "another encoder for review images": Mutation(
        "mcr", goldens, "build", with_own_encoder_for_review_images
    ),
    "the product's encoder for review images": Mutation(
        "mcl", goldens, "build", with_the_products_encoder_for_review_images
    ),
    "means by valid length": Mutation(
        "mcr",
        matching.ContextFeatures,
        "_mean",
        lambda self, attention, product, review, rows: (
            attention.summed(product, review, rows) / review[1].sum(1, keepdim=True).clamp(min=1)[rows[1]]
        ),
    ),
    "padded nodes not in the claim": Mutation(
        "mcr",
        graph.Coherence,
        "padded_claim",
        property(lambda self: False, lambda self, value: None),
    ),
    "padded images attended to": Mutation("mcr", encoders.RoiEncoder, "forward", unmasked_keys),
    "maps not normalised": Mutation("mcr", mcr, "unit_vectors", lambda x: x),
    "positive not in its denominator": Mutation(
        "mcl", mcl, "adaptive_contrast", contrast_without_the_positive
    ),
    "other side of self-attention masked": Mutation(
        "sancl", selective.SelfAttention, "forward", other_side_masked
    ),
    "other side masked in the BERT network": Mutation(
        "sancl_bert", selective.SelfAttention, "forward", other_side_masked
    ),
    "no gradient at a hinge of zero": Mutation(
        "losses", torch, "clamp", lambda x, min: torch.relu(x - min) + min
    ),
    "hinge averaged over negatives": Mutation(
        "losses",
        goldens,
        "hinge_loss",
        lambda s, y, size, margin, original=goldens.hinge_loss: original(s, y, size, margin) / (size - 1),
    ),
    "positives dropped by value": Mutation("pairs", goldens, "pair_plan", positives_by_value),
    "shares of labels ignored": Mutation(
        "pairs", pairs, "_weights", lambda label, weighted: np.ones(len(label))
    ),
    "ties averaged": Mutation(
        "metrics",
        goldens,
        "per_product_metrics",
        lambda *args, ties, original=goldens.per_product_metrics, **rest: original(*args, **rest),
    ),
    "zero counts as positive": Mutation(
        "selfmm_labels",
        goldens,
        "SelfMMLabels",
        lambda *args, exclude_zero, **rest: SelfMMLabels(*args, exclude_zero=False, **rest),
    ),
}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("detail", MUTATIONS)
def test_every_mutation_is_caught(detail, precision, tmp_path, monkeypatch):
    mutation = MUTATIONS[detail]
    copied(tmp_path, *(path.name for path in GOLDENS.glob(f"{mutation.golden}.*")))
    before = check(tmp_path, precision)
    assert all(case.ok for case in before.values())
    monkeypatch.setattr(mutation.owner, mutation.name, mutation.replacement, raising=False)
    after = check(tmp_path, precision)
    failed = [case for case in after.values() if not case.ok]
    assert failed, f"not caught: {detail}"
    # a difference in numbers or counts, not a crash of the mutant
    assert all("differs" in case.note or "recorded" in case.note for case in failed)
