"""The text-only baselines: released forms against NumPy loops at edge shapes, fair forms against their
definitions, the blocked operations against plain autograd."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from baselines import bimpm, convknrm, egcnn
from baselines.bimpm import BiMPM
from baselines.convknrm import ConvKNRM
from baselines.egcnn import EGCNN
from baselines.parts.recurrent import BiLSTM
from baselines.prhnet import PRHNet
from benchmark import models
from benchmark.checks.reference import build, read_reference
from benchmark.core.types import Batch, CorpusShape, Items
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import hinge_loss
from tests import toy
from tests.baselines import naive_text

GOLDENS = files("benchmark") / "checks" / "recorded"
TEXT = ["bimpm", "convknrm", "egcnn", "prhnet"]


def text_items(token_rows, size):
    token_NT = torch.zeros(len(token_rows), size, dtype=torch.int64)
    for row, tokens in enumerate(token_rows):
        token_NT[row, : len(tokens)] = torch.tensor(tokens)
    counts = torch.tensor([len(tokens) for tokens in token_rows])
    return Items(token_NT, counts, None, None, torch.arange(len(token_rows)))


def one_to_one(products, reviews):
    row_B = torch.arange(len(products))
    return Batch(products, reviews, row_B, row_B, torch.zeros(len(products)))


# Released forms


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize(
    ("lengths", "padded"),
    [
        ([(3, 6)], (3, 6)),  # a batch of one without padding
        ([(1, 1)], (1, 8)),  # texts of one word; a product shorter than EG-CNN's window
        ([(2, 3), (1, 5)], (4, 5)),
        ([(2, 1), (5, 3)], (19, 23)),  # long padded tails
        ([(4, 4), (2, 3)], (9, 9)),  # both sides padded to one length
    ],
)
def test_released_equals_naive_loops(name, lengths, padded):
    source = GOLDENS / f"{name}.npz"
    reference = read_reference(source)
    weights = {key: value.double().numpy() for key, value in reference.parameters.items()}
    random = np.random.default_rng(len(lengths))
    products = text_items([random.integers(1, 41, m).tolist() for m, _ in lengths], padded[0])
    reviews = text_items([random.integers(1, 47, n).tolist() for _, n in lengths], padded[1])
    model = build(models.load(name), reference).double()
    with torch.no_grad():
        ours = model.score(one_to_one(products, reviews)).numpy()
    expected = [
        naive_text.NETWORKS[name](
            weights, reference.config, products.token_NT[i].numpy(), reviews.token_NT[i].numpy(), *lengths[i]
        )
        for i in range(len(lengths))
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-10)


def test_egcnn_windows_within_and_across_texts_are_all_windows():
    """Rows that share a product give what each row gives alone."""
    torch.manual_seed(0)
    model = EGCNN(egcnn.Config(**{**EGCNN.released, "embedding": 6}), toy.SHAPE).double().eval()
    products = text_items([[4, 5, 6, 7, 8, 9], [3, 9]], 7)
    reviews = text_items([[8, 3, 4], [5, 6, 7, 8, 9, 3, 4, 5], [9]], 8)
    product_B = torch.tensor([0, 0, 1])
    together = Batch(products, reviews, product_B, torch.arange(3), torch.zeros(3))
    with torch.no_grad():
        word = torch.cat(
            [
                model._gated(model.product_embedding(products.token_NT))[product_B],
                model._gated(model.review_embedding(reviews.token_NT)),
            ],
            1,
        )
        expected = model.scorer(model.convs[0](word.transpose(1, 2)).amax(2)).squeeze(1)
        torch.testing.assert_close(model.score(together), expected, atol=1e-12, rtol=0)


def test_released_scores_depend_on_padding_except_prhnet():
    """The released forms keep their defect, so the harness pads them to the released 128."""
    products, reviews = text_items([[4, 5, 6]], 6), text_items([[7, 8]], 7)
    longer = text_items([[4, 5, 6]], 12), text_items([[7, 8]], 15)
    for name in TEXT:
        model = build(models.load(name), read_reference(GOLDENS / f"{name}.npz")).double()
        with torch.no_grad():
            change = (
                (model.score(one_to_one(products, reviews)) - model.score(one_to_one(*longer))).abs().item()
            )
        assert model.batch_invariant == (name == "prhnet") == (change < 1e-12)
        assert model.padding.fixed_tokens == (None if name == "prhnet" else 128)


# Fair forms, from their definitions on unpadded texts


def fair_pair(model_class, **sizes):
    torch.manual_seed(3)
    model = model_class(model_class.config_class(embedding=6, **sizes), toy.SHAPE).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    product, review = [4, 9, 2, 7, 3], [8, 9, 5]
    return model, one_to_one(text_items([product], 5), text_items([review], 3)), product, review


def state(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_fair_convknrm_by_hand():
    model, batch, product, review = fair_pair(ConvKNRM, filters=4, ngrams=(1, 3))
    weights = state(model)
    features = []
    grams = {}
    for side, tokens in (("product", product), ("review", review)):
        words = weights[f"{side}_embedding.weight"][tokens]
        for i, n in enumerate((1, 3)):
            padded = np.concatenate([words, np.zeros((n - 1, 6))])
            grams[side, i] = np.maximum(
                naive_text.convolve(padded, weights[f"convs.{i}.weight"], weights[f"convs.{i}.bias"]), 0
            )
    centres = [(mu, 0.1) for mu in (-0.9, -0.7, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9)] + [(1.0, 1e-3)]
    for i in range(2):
        for j in range(2):
            matrix = np.array(
                [[naive_text.cosine(x, y) for y in grams["review", j]] for x in grams["product", i]]
            )
            for mu, sigma in centres:
                sums = np.exp(-((matrix - mu) ** 2) / (2 * sigma**2)).sum(1)
                features.append(0.01 * np.log(np.maximum(sums, 1e-10)).sum())
    expected = weights["scorer.weight"][0] @ np.array(features) + weights["scorer.bias"][0]
    assert model.score(batch).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("product_text", [False, True])
def test_fair_egcnn_by_hand(product_text):
    model, batch, product, review = fair_pair(EGCNN, filters=4, product_text=product_text)
    weights = state(model)

    def pooled(side, tokens):
        words = weights[f"{side}_embedding.weight"][tokens]
        gated = naive_text.expit(words @ weights["gate.weight"].T + weights["gate.bias"]) * words
        parts = []
        for i, k in enumerate((3, 4, 5)):
            filled = np.concatenate([gated, np.zeros((max(0, k - len(gated)), 6))])
            windows = naive_text.convolve(filled, weights[f"convs.{i}.weight"], weights[f"convs.{i}.bias"])
            parts.append(np.maximum(windows, 0).max(0))
        return np.concatenate(parts)

    features = pooled("review", review)
    if product_text:
        features = np.maximum(features, pooled("product", product))
    expected = weights["scorer.weight"][0] @ features + weights["scorer.bias"][0]
    assert model.score(batch).item() == pytest.approx(expected, abs=1e-10)


def test_fair_bimpm_by_hand(monkeypatch):
    """As the naive released network, but with the most attended state and a signed attention sum."""
    model, batch, product, review = fair_pair(BiMPM, hidden=4, perspectives=3)
    names = {ours: theirs for theirs, ours in BiMPM.reference_names.items()}
    weights = {}
    for name, value in state(model).items():
        prefix = next(prefix for prefix in sorted(names, key=len, reverse=True) if name.startswith(prefix))
        weights[names[prefix] + name.removeprefix(prefix)] = value

    def match(p, h, last_h, perspective):
        rows = []
        for x in p:
            alpha = np.array([naive_text.cosine(x, y) for y in h])
            compared = [last_h, None, alpha @ h / alpha.sum(), h[alpha.argmax()]]
            row = []
            for w, y in zip(perspective, compared, strict=True):
                row += [max(naive_text.cosine(v * x, v * s) for s in (h if y is None else [y])) for v in w]
            rows.append(row)
        return np.array(rows)

    monkeypatch.setattr(naive_text, "match", match)
    expected = naive_text.bimpm(weights, {}, product, review, 5, 3)
    assert model.score(batch).item() == pytest.approx(expected, abs=1e-10)


def test_negative_attention_sums_keep_their_sign_only_in_the_fair_form():
    weight, y = torch.tensor([[[-0.5, -0.25]]]), torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    signed = bimpm.weighted_mean(weight, y, keep_sign=True)
    torch.testing.assert_close(signed, torch.tensor([[[1.25 / 0.75, 0.75 / 0.75]]]))
    released = bimpm.weighted_mean(weight, y, keep_sign=False)
    torch.testing.assert_close(released, torch.tensor([[[-1.25e8, -0.75e8]]]))


# Blocked operations


@pytest.fixture(params=[1 << 22, 1], ids=["one block", "smallest blocks"])
def blocks(request, monkeypatch):
    """Chunks of a few rows, or of one."""
    monkeypatch.setattr("benchmark.kernels.arrays.CHUNK_BYTES", request.param)


def same_with_gradients(ours, plain, inputs):
    """Equal values and, for a random cotangent, equal gradients."""
    results = []
    for function in (ours, plain):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        outputs = function(*leaves)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        flat = torch.cat([part.reshape(-1) for part in parts])
        torch.manual_seed(9)
        flat.backward(torch.randn_like(flat))
        results.append([flat.detach(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    "kernels",
    [
        [(-0.5, 0.3), (0.5, 1.0), (1.0, 0.05)],
        # wide ones of one width: equally spaced, then not, then another width
        [(-0.75, 1.0), (-0.25, 1.0), (0.25, 1.0), (0.75, 1.0), (1.0, 1.0), (0.0, 0.7), (0.5, 0.7)],
    ],
    ids=["mixed", "wide"],
)
def test_kernel_sums(blocks, kernels):
    value = torch.rand(3, 8, 5, dtype=torch.float64) * 2 - 1
    same_with_gradients(
        lambda x: convknrm.kernel_sums(x, kernels), lambda x: plain_kernel_sums(x, kernels), [value]
    )


def plain_kernel_sums(value, kernels, mask_BR=None):
    bells = torch.stack([torch.exp(-((value - mu) ** 2) / (2 * s**2)) for mu, s in kernels], -1)
    if mask_BR is not None:
        bells = bells * mask_BR[:, None, :, None]
    return bells.sum(2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 150), st.integers(2, 21), st.booleans(), st.integers(0, 999))
def test_kernel_sums_in_float32(rows, columns, count, wide, seed):
    """Compiled where there is a compiler: row lengths on both sides of whole vectors, with padding; kernels of the
    paper's widths and of the released one. (At the exact kernel's width, 0.001, a value's rounding decides, so
    that it is compared on values that float32 holds exactly.)"""
    random = np.random.default_rng(seed)
    steps = count - 1
    sigma, exact = (1.0, 1.0) if wide else (0.1, 1e-3)
    kernels = [*(((1 + 2 * i) / steps - 1, sigma) for i in range(steps)), (1.0, exact)]
    value = torch.from_numpy(random.integers(-1024, 1025, (2, rows, columns)) / 1024)
    mask = torch.from_numpy(random.random((2, columns)) < 0.7)
    for given_mask in (None, mask):
        expected_at, ours_at = value.clone().requires_grad_(), value.float().requires_grad_()
        expected = plain_kernel_sums(expected_at, kernels, given_mask)
        ours = convknrm.kernel_sums(ours_at, kernels, given_mask)
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-5)
        weight = torch.linspace(-1, 1, ours.numel()).view_as(ours)
        (wanted,) = torch.autograd.grad((expected * weight.double()).sum(), expected_at)
        (gradient,) = torch.autograd.grad((ours * weight).sum(), ours_at)
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-3, atol=1e-3)


def test_wide_kernels_with_padding(blocks):
    """The recurrence over kernels must not turn a masked value into a number that is none."""
    kernels = [((1 + 2 * i) / 7 - 1, 1.0) for i in range(7)]
    value, mask = torch.rand(2, 3, 6, dtype=torch.float64), torch.arange(6) < torch.tensor([[2], [6]])
    same_with_gradients(
        lambda x: convknrm.kernel_sums(x, kernels, mask),
        lambda x: plain_kernel_sums(x, kernels, mask),
        [value],
    )


def test_elementwise_maximum(blocks):
    weight, y = torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    same_with_gradients(
        bimpm.elementwise_maximum, lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(1)).amax(2), [weight, y]
    )


@pytest.mark.parametrize("masked", [False, True])
def test_max_cosine(blocks, masked):
    p, h = torch.randn(3, 4, 6, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    w = torch.randn(2, 6, dtype=torch.float64)
    p_mask = torch.arange(4) < torch.tensor([[4], [2], [1]]) if masked else None
    h_mask = torch.arange(5) < torch.tensor([[3], [5], [1]]) if masked else None

    def plain(p, h, w):
        pw, hw = p[:, :, None, None] * w, h[:, None, :, None] * w
        every = F.cosine_similarity(pw, hw, dim=-1)  # [B, L, R, P]
        by_h, by_p = every, every
        if masked:
            by_h = every.masked_fill(~h_mask[:, None, :, None], -2)
            by_p = every.masked_fill(~p_mask[:, :, None, None], -2)
        return by_h.amax(2), by_p.amax(1)

    same_with_gradients(lambda *x: bimpm.max_cosine(*x, p_mask, h_mask), plain, [p, h, w])


def test_weighted_cosine_equals_the_library_cosine():
    x, ys = torch.randn(2, 3, 5).double(), [torch.randn(2, n, 5).double() for n in (1, 3)]
    weights = [torch.randn(4, 5).double() for _ in ys]
    for ours, y, w in zip(bimpm.weighted_cosines(x, ys, weights), ys, weights, strict=True):
        expected = F.cosine_similarity(x.unsqueeze(2) * w, y.unsqueeze(2) * w, dim=-1)
        torch.testing.assert_close(ours, expected)


def test_zero_states_have_finite_gradients():
    x = torch.zeros(1, 2, 3, requires_grad=True)
    y, w = torch.randn(1, 2, 3), torch.randn(2, 3)
    total = bimpm.weighted_cosines(x, [y], [w])[0].sum() + bimpm.unit_vectors(x, 1e-8).sum()
    (total + bimpm.max_cosine(x, y, w, None, None)[0].sum()).backward()
    assert torch.isfinite(x.grad).all()


def test_bilstm_equals_a_packed_lstm():
    torch.manual_seed(1)
    library = torch.nn.LSTM(5, 4, bidirectional=True, batch_first=True)
    ours = BiLSTM(5, 4)
    for name, value in library.state_dict().items():
        direction = ours.backward_lstm if name.endswith("_reverse") else ours.forward_lstm
        getattr(direction, name.removesuffix("_reverse")).data.copy_(value)
    x, count = torch.randn(4, 7, 5), torch.tensor([3, 7, 1, 5])
    packed = pack_padded_sequence(x, count, batch_first=True, enforce_sorted=False)
    states, (last, _) = library(packed)
    expected, _ = pad_packed_sequence(states, batch_first=True)
    found = ours(x, count)
    torch.testing.assert_close(found.both, expected)
    torch.testing.assert_close(found.last, torch.cat([last[0], last[1]], 1))
    states, (last, _) = library(x)
    unmasked = ours(x)
    torch.testing.assert_close(unmasked.both, states)
    torch.testing.assert_close(unmasked.last, torch.cat([last[0], last[1]], 1))


# Declarations


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("bimpm", ("lazada", "clothing"), (1e-4, 7, 51, "hinge", 0)),
        ("bimpm", ("lazada", "home"), (1e-3, 7, 51, "hinge", 0)),
        ("bimpm", ("amazon", "home"), (1e-3, 1, 11, "hinge", 0)),
        ("convknrm", ("lazada", "electronics"), (1e-4, 7, 51, "hinge", 0)),
        ("convknrm", ("amazon", "clothing"), (1e-4, 1, 11, "hinge", 0)),
        ("prhnet", ("lazada", "electronics"), (1e-4, 7, 51, "point", 0)),
        ("prhnet", ("lazada", "home"), (1e-4, 7, 51, "hinge", 0)),
        ("prhnet", ("amazon", "electronics"), (1e-4, 1, 11, "point", 1)),
        ("egcnn", ("lazada", "clothing"), (1e-4, 7, 51, "point", 0)),
        ("egcnn", ("amazon", "home"), (1e-4, 7, 11, "point", 0)),
    ],
)
def test_released_training(name, where, expected):
    config = TrainingConfig(**models.load(name).released_training(*where))
    found = (config.learning_rate, config.negatives, config.epochs, config.loss, config.point_threshold)
    assert found == expected
    assert (config.label_gap, config.batch_size, config.batch_unit, config.plateau) == (
        1,
        32,
        "reviews",
        True,
    )
    assert config.relevance_threshold == TrainingConfig().relevance_threshold  # the data set's to set


@pytest.mark.parametrize("name", TEXT)
def test_word_vectors_start_the_tables(name):
    def vectors(field, width):
        table = torch.full((toy.VOCABULARY, width), 0.5 if field == "product" else -0.5)
        table[0] = 0
        return table

    shape = CorpusShape(toy.VOCABULARY, toy.VOCABULARY, toy.VOCABULARY, 1, 10, vectors)
    model_class = models.load(name)
    model = model_class(model_class.config_class(**{**model_class.quick, "form": "fair"}), shape)
    assert model.review_embedding.weight[1:].unique().tolist() == [-0.5]
    assert model.review_embedding.weight[0].abs().sum() == 0


@pytest.mark.parametrize("name", TEXT)
def test_unknown_forms_are_refused(name):
    with pytest.raises(ValueError, match="fair, released"):
        models.load(name).config_class(form="relased")


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("form", ["fair", "released"])
def test_learns_to_rank_a_toy_product_list(name, form):
    """Reviews with word 5 come first; the hinge falls and the order is right on unseen reviews."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)

    def draw():
        groups = []
        for _ in range(8):
            good, bad = (random.integers(6, toy.VOCABULARY, 6) for _ in range(2))
            good[random.integers(6)] = 5
            groups.append(
                [toy.Item(list(map(int, words)), np.zeros((0, toy.ROI_WIDTH))) for words in (good, bad)]
            )
        products = [toy.Item([3, 5, 4, 8, 9], np.zeros((0, toy.ROI_WIDTH))) for _ in groups]
        return toy.batch(products, groups, group_size=2)

    model_class = models.load(name)
    sizes = {**model_class.released, **model_class.quick} if form == "released" else model_class.quick
    model = model_class(model_class.config_class(**sizes), toy.SHAPE)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(200):
        batch = draw()
        loss = hinge_loss(model.score(batch), batch.label_B, 2, 1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        score = model.score(draw()).view(-1, 2)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert (score[:, 0] > score[:, 1]).float().mean() >= 0.75


def test_reference_configurations_are_read():
    for name in TEXT:
        with np.load(GOLDENS / f"{name}.npz") as golden:
            config, shape = models.load(name).config_from_reference(json.loads(str(golden["config"])))
        assert (config.form, config.embedding) == ("released", 12)
        assert (shape.product_vocabulary, shape.review_vocabulary) == (41, 47)
    assert PRHNet.released is not None
