"""MM-SS as a whole: decisions, ablations, invariances, training, and what it leaves behind."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf

from benchmark import models
from benchmark.core import decisions
from benchmark.core.errors import UsageError
from mmss.config import DROPPABLE, INTERACTIONS, Config, without
from mmss.model import MMSS, first_rows
from tests.mmss.fixtures import SMALL, Toy, hinge, step


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


def optimiser_of(model: MMSS) -> torch.optim.Optimizer:
    return torch.optim.Adam(list(model.parameter_groups(3e-3)))


def options() -> list[Any]:
    """Every single alternative of every decision that MM-SS carries, at the toy's size."""
    cases = [pytest.param({}, id="default")]
    for decision in decisions.all_decisions():
        for setting in decisions.alternatives(decision.id):
            fields = {name.removeprefix("mmss."): value for name, value in setting.items()}
            if decision.id == "D-DROPOUT":  # the toy has none, so the other option is some
                fields["encoder_dropout"] = 0.3
            if decision.fields[0].startswith("mmss.") and decision.id != "D-BERT":
                cases.append(pytest.param(fields, id=f"{decision.id}:{fields}"))
    return cases


@pytest.mark.parametrize("fields", options())
def test_every_option_trains_through_epochs(toy: Toy, fields: dict[str, Any]) -> None:
    model = toy.model(**fields)
    optimiser = optimiser_of(model)
    for epoch in (1, 2, 3):
        assert np.isfinite(step(model, toy.pairs(12, seed=epoch), optimiser))
        json.dumps(model.end_epoch(epoch), allow_nan=False)
    assert bool(torch.isfinite(model.training_state()["pseudo_label"]).all())
    step(model, toy.pairs(12))
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []


def test_the_options_give_different_models(toy: Toy) -> None:
    """No option is accepted and then ignored: each moves scores or pseudo labels within three epochs."""
    outcomes = {}
    for case in options():
        fields = case.values[0]
        model = toy.model(**fields)
        optimiser = optimiser_of(model)
        for epoch in (1, 2, 3):
            step(model, toy.pairs(12, seed=epoch), optimiser)
            model.end_epoch(epoch)
        labels = model.training_state()["pseudo_label"]
        outcomes[str(case.id)] = (round(float(labels.double().mean()), 7), step(model, toy.pairs(12)))
    values = list(outcomes.values())
    assert len(set(values)) == len(values), outcomes


def test_dropped_subtasks_leave_the_loss_but_not_the_features(toy: Toy) -> None:
    full = toy.model()
    for name in INTERACTIONS:
        model = toy.model(drop=(name,))
        assert model.subtasks is not None
        assert list(model.subtasks.tasks) == [other for other in INTERACTIONS if other != name]
        assert model.subtasks.log_variance_S.shape == (4,)
        assert tuple(model.features(toy.batch([0, 1]))) == INTERACTIONS
        assert model.represent.weight.shape == full.represent.weight.shape
        step(model, toy.pairs(8))
        report = model.end_epoch(1)
        assert name not in report["sigma"]
        assert name not in report["pseudo_labels"]["tasks"]
        assert model.training_state()["pseudo_label"].shape == (4, 40)


def test_without_module_d_only_the_ranking_loss_is_left(toy: Toy) -> None:
    model = toy.model(drop=("d",))
    assert model.subtasks is None
    assert tuple(model.features(toy.batch([0, 1]))) == INTERACTIONS
    batch = toy.pairs(6)
    assert step(model, batch) == pytest.approx(hinge(model.score(batch), batch).item(), abs=1e-7)
    assert model.end_epoch(1) == {}
    assert model.training_state() == {}


def test_the_targets_head_by_hand(toy: Toy) -> None:
    """Eq. 6 to 8 with NumPy, GELU by the error function: one interaction after another, in the paper's order."""
    model = toy.model().eval()
    features = model.features(toy.batch(list(range(6))))
    weight, bias, out, offset = (
        value.detach().numpy().astype(np.float64)
        for layer in (model.represent, model.predict)
        for value in (layer.weight, layer.bias)
    )
    f_c = np.concatenate([features[name].detach().numpy() for name in INTERACTIONS], axis=1)
    linear = f_c @ weight.T + bias
    expected = linear * (1 + erf(linear / np.sqrt(2))) / 2
    representation, score = model.target(features)
    np.testing.assert_allclose(representation.detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(score.detach().numpy(), (expected @ out.T + offset)[:, 0], atol=1e-5)


def test_without_module_b_there_are_no_interactions_and_no_subtasks(toy: Toy) -> None:
    model = toy.model(drop=("b",))
    assert model.interactions is None
    assert model.subtasks is None
    assert model.represent.weight.shape == (8, 4 * 12)
    batch = toy.batch(list(range(12)))
    features = model.features(batch)
    assert list(features) == ["pt", "pv", "rt", "rv"]
    # Product features depend on the product only, review features on the review only.
    for row in range(1, 12):
        same = batch.product_B[row] == batch.product_B[row - 1]
        assert bool(torch.equal(features["pt"][row], features["pt"][row - 1])) == bool(same)
    step(model, toy.pairs(6))
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_without_makes_a_new_configuration() -> None:
    config = Config(**SMALL)
    dropped = without(config, "rtrv", "ptrt")
    assert config.drop == ()
    assert dropped.drop == ("ptrt", "rtrv")
    assert dropped.subtasks == ("pvrv", "ptrv", "pvrt")
    assert without(dropped, "ptrt") == dropped
    assert {without(config, part).subtasks for part in ("b", "d")} == {()}
    with pytest.raises(UsageError, match=r"'ptxt'.*ptrt pvrv ptrv pvrt rtrv b d"):
        without(config, "ptxt")
    with pytest.raises(UsageError, match="unknown part 'x'"):
        Config(drop=("x",))


@pytest.mark.parametrize("fields", [{}, {"attention_residual": True}, {"drop": ("b",)}])
def test_scores_do_not_depend_on_the_batch_or_its_padding(toy: Toy, fields: dict[str, Any]) -> None:
    model = toy.model(**fields).double().eval()
    rows = list(range(len(toy.reviews)))

    def score(some: list[int], **padding: int) -> torch.Tensor:
        batch = toy.batch(some, **padding).map(lambda x: x.double() if x.is_floating_point() else x)
        with torch.no_grad():
            return model.score(batch)

    together = score(rows)
    for more in ({"more_tokens": 7}, {"more_rois": 5}, {"more_tokens": 3, "more_rois": 1}):
        torch.testing.assert_close(score(rows, **more), together, atol=1e-9, rtol=0)
    alone = torch.cat([score([row]) for row in rows])
    torch.testing.assert_close(alone, together, atol=1e-9, rtol=0)
    order = np.random.default_rng(0).permutation(len(rows))
    torch.testing.assert_close(score(order.tolist()), together[torch.tensor(order)], atol=1e-9, rtol=0)
    assert len(together.unique()) == len(rows)


def test_every_modality_reaches_the_score(toy: Toy) -> None:
    model = toy.model().eval()
    rows = [row for row in range(40) if len(toy.reviews[row][1]) and len(toy.products[toy.product_R[row]][1])]
    before = model.score(toy.batch(rows)).detach()
    for side in ("products", "reviews"):
        for field in (0, 1):
            changed = copy.deepcopy(toy)
            items: Any = getattr(changed, side)
            for item in items:
                item[field][1 if field == 0 else 0 :] = item[field][1 if field == 0 else 0 :][::-1] + 0
                if field:
                    item[1][...] *= 2
            after = model.score(changed.batch(rows)).detach()
            assert bool((after != before).any()), (side, field)


def test_items_without_images_never_give_nan(toy: Toy) -> None:
    bare = copy.deepcopy(toy)
    bare.products = [(words, roi[:0]) for words, roi in bare.products]
    bare.reviews = [(words, roi[:0]) for words, roi in bare.reviews]
    model = bare.model()
    optimiser = optimiser_of(model)
    for epoch in (1, 2, 3):
        assert np.isfinite(step(model, bare.pairs(10, seed=epoch), optimiser))
        json.dumps(model.end_epoch(epoch), allow_nan=False)
    assert not model.features(bare.batch([0, 1]))["pvrv"].any()
    assert bool(torch.isfinite(model.score(bare.batch(list(range(40))))).all())


def test_the_first_epoch_is_the_ranking_loss_alone_and_keeps_sigma(toy: Toy) -> None:
    model = toy.model()
    assert model.subtasks is not None
    batch = toy.pairs(8)
    ranking = hinge(model.score(batch), batch).item()
    optimiser = optimiser_of(model)
    assert step(model, batch, optimiser) == pytest.approx(ranking, abs=1e-7)
    for seed in range(5):
        step(model, toy.pairs(8, seed=seed), optimiser)
    assert model.subtasks.log_variance_S.tolist() == [0.0] * 5
    report = model.end_epoch(1)
    assert set(report["sigma"].values()) == {1.0}
    assert set(report["subtask_loss"].values()) == {0.0}
    before = hinge(model.score(batch), batch).item()
    step(model, batch, optimiser)
    report = model.end_epoch(2)
    assert report["target_loss"] == pytest.approx(before, abs=1e-6)
    assert min(report["subtask_loss"].values()) > 0
    assert all(value != 0 for value in model.subtasks.log_variance_S.tolist())


def test_total_loss_by_hand_after_an_epoch(toy: Toy) -> None:
    """Eq. 13-16 recomputed from the model's own predictions, each review once however often it is drawn."""
    model = toy.model()
    assert model.subtasks is not None
    step(model, toy.pairs(20), optimiser_of(model))
    model.end_epoch(1)
    with torch.no_grad():
        model.subtasks.log_variance_S.copy_(torch.tensor([0.4, -0.3, 0.0, 1.0, -1.0]))
    batch = toy.pairs(16, seed=3)
    assert len(batch.reviews) < len(batch)
    got = step(model, batch)
    pseudo_SR, label_R = model.training_state()["pseudo_label"], model.training_state()["label"]
    features = model.features(batch)
    total = hinge(model.score(batch), batch).item()
    for s, name in enumerate(INTERACTIONS):
        terms = []
        for index, row in enumerate(batch.reviews.row_N.tolist()):
            at = batch.review_B.tolist().index(index)
            task = model.subtasks.tasks[name]
            prediction = task.predict(torch.nn.functional.gelu(task.represent(features[name][at]))).item()
            label, pseudo = label_R[row].item(), pseudo_SR[s, row].item()
            terms.append(np.tanh(abs(pseudo - label)) * abs(prediction - pseudo))
        sigma2 = np.exp([0.4, -0.3, 0.0, 1.0, -1.0][s])
        total += np.mean(terms) / (2 * sigma2) + np.log(np.sqrt(sigma2))
    assert got == pytest.approx(total, abs=1e-4)


def test_gradients_of_the_whole_loss_by_finite_differences(toy: Toy) -> None:
    """Autograd through encoder, attention, SoftPool, target and subtasks, along random directions."""
    model = toy.model()
    step(model, toy.pairs(20), optimiser_of(model))
    model.end_epoch(1)
    model.double().eval()
    batch = toy.pairs(6, seed=4).map(lambda x: x.double() if x.is_floating_point() else x)
    model.zero_grad()
    model.loss(batch, hinge).backward()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        assert parameter.grad is not None
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-6)
                values.append(model.loss(batch, hinge).item())
                parameter.add_(direction, alpha=-sign * 1e-6)
        numeric = (values[0] - values[1]) / 2e-6
        assert float((parameter.grad * direction).sum()) == pytest.approx(numeric, rel=2e-4, abs=2e-6), name


def test_labels_are_updated_from_what_was_last_seen(toy: Toy) -> None:
    model = toy.model()
    assert model.pseudo_labels is not None
    optimiser = optimiser_of(model)
    step(model, toy.pairs(6, seed=0), optimiser)
    batch = toy.pairs(6, seed=1)
    representation_BG, _ = model.target(model.features(batch))
    step(model, batch)
    stored = model.pseudo_labels.representation_KRG[0, batch.reviews.row_N]
    torch.testing.assert_close(
        stored, representation_BG[first_rows(batch.review_B, len(batch.reviews))].detach()
    )
    visited = model.pseudo_labels.visited_R.clone()
    model.end_epoch(1)
    moved = (model.training_state()["pseudo_label"] != toy.labels).any(dim=0)
    assert bool((moved == visited).all())
    assert 0 < int(visited.sum()) < 40


def test_scoring_and_evaluating_the_loss_leave_no_trace(toy: Toy) -> None:
    model = toy.model()
    model.eval()
    with torch.no_grad():
        model.score(toy.batch([1, 2, 3]))
        model.loss(toy.pairs(4), hinge)
    assert model.pseudo_labels is not None
    assert not model.pseudo_labels.visited_R.any()
    assert not any("pseudo" in name for name in model.state_dict())


def test_first_rows() -> None:
    review_B = torch.tensor([2, 0, 2, 1, 0])
    assert first_rows(review_B, 3).tolist() == [1, 3, 0]


def test_the_encoder_has_its_own_learning_rate(toy: Toy) -> None:
    model = MMSS(Config(**(SMALL | {"encoder_learning_rate": 5e-5, "scratch_width": 16})), toy.shape)
    encoder, rest = model.parameter_groups(1e-4)
    assert (encoder["lr"], rest["lr"]) == (5e-5, 1e-4)
    listed = [id(parameter) for group in (encoder, rest) for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())
    words = {id(parameter) for name, parameter in model.named_parameters() if ".bert." in name}
    assert words == {id(parameter) for parameter in encoder["params"]}


def test_it_learns_the_toy_and_the_same_seed_gives_the_same_numbers(toy: Toy) -> None:
    def train() -> list[float]:
        model = toy.model(seed=3)
        optimiser = optimiser_of(model)
        losses = []
        for epoch in range(1, 5):
            for seed in range(12):
                batch = toy.pairs(16, seed=seed)
                step(model, batch, optimiser)
                losses.append(hinge(model.score(batch), batch).item())
            model.end_epoch(epoch)
        return losses

    losses = train()
    assert np.mean(losses[-12:]) < 0.35 * np.mean(losses[:6])
    assert train() == losses


def test_the_registry_finds_it_and_the_presets_are_valid() -> None:
    assert models.load("mmss") is MMSS
    quick = Config(**MMSS.quick)
    assert quick.encoder == "scratch"
    assert set(DROPPABLE) == {*INTERACTIONS, "b", "d"}
    assert Config().encoder_learning_rate == 5e-5
    assert (Config().width, Config().d_g) == (128, 128)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 10, "attention_heads": 4}, "multiple of mmss.attention_heads"),
        ({"encoder": "scratch", "scratch_width": 9}, "multiple of mmss.scratch_heads"),
        ({"encoder_dropout": 1.5}, r"in \[0, 1\)"),
        ({"ridge": 0.0}, "above 0"),
    ],
)
def test_configurations_that_cannot_work(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**fields)
