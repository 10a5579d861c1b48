"""Shared building blocks of the multimodal baselines, each against another way of computing it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from baselines.parts import layers
from baselines.parts.contrast import Interaction
from baselines.parts.encoders import RoiEncoderLayer, TextConvEncoder
from baselines.parts.graph import Coherence, GraphReasoning
from baselines.parts.layers import Dropout, ProductAwareAttention, masked_mean
from baselines.parts.pooling import KernelMaxPooling
from baselines.parts.transformer import PostNormFeedForward, PostNormLayer
from benchmark.core.types import CorpusShape, length_mask, rows_of
from benchmark.kernels import arrays, graphs
from benchmark.kernels.elementwise import unit_vectors
from benchmark.kernels.graphs import pair_attention
from benchmark.kernels.maxima import part_maxima
from benchmark.kernels.packing import Packing

ONE_PAIR_AT_A_TIME, A_FEW_ROWS, EVERYTHING = 1, 64, 1 << 20


def plain_pair_attention(a, b, w, mask):
    logit = torch.relu(a.unsqueeze(2) + b.unsqueeze(1)) @ w
    return logit.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(-1)


@pytest.mark.parametrize("budget", [ONE_PAIR_AT_A_TIME, A_FEW_ROWS, EVERYTHING])
class TestPairAttention:
    """The blocked kernel and its hand-written gradient."""

    mask = length_mask(torch.tensor([5, 2, 1]), 5)

    @pytest.fixture(autouse=True)
    def block_size(self, monkeypatch, budget):
        monkeypatch.setitem(graphs.BLOCK_ELEMENTS, "cpu", budget)

    def arguments(self):
        generator = torch.Generator().manual_seed(3)
        shapes = (3, 5, 4), (3, 5, 4), (4,)
        return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]

    def test_equals_the_plain_formula(self):
        arguments = self.arguments()
        ours, expected = (f(*arguments, self.mask) for f in (pair_attention, plain_pair_attention))
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)

    def test_gradient_by_finite_differences(self):
        assert torch.autograd.gradcheck(lambda *x: pair_attention(*x, self.mask), self.arguments())

    def test_gradient_equals_that_of_the_plain_formula(self):
        arguments = self.arguments()
        weight = torch.randn(3, 5, 5, dtype=torch.float64)
        ours, expected = (
            torch.autograd.grad((f(*arguments, self.mask) * weight).sum(), arguments)
            for f in (pair_attention, plain_pair_attention)
        )
        for x, y in zip(ours, expected, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


def test_pair_attention_at_full_size_in_float32():
    """At released sizes the blocks lose nothing that float32 has."""
    generator = torch.Generator().manual_seed(0)
    a, b, w = (torch.randn(s, generator=generator) for s in ((1, 256, 64), (1, 256, 64), (64,)))
    mask = length_mask(torch.tensor([200]), 256)
    exact = plain_pair_attention(a.double(), b.double(), w.double(), mask)
    torch.testing.assert_close(pair_attention(a, b, w, mask).double(), exact, rtol=1e-4, atol=1e-7)


def test_pair_attention_does_not_keep_the_hidden_states():
    """What autograd keeps of a call is no T x T x H array."""
    kept = []
    a, b = (torch.randn(1, 40, 16, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        pair_attention(a, b, torch.randn(16, requires_grad=True), torch.ones(1, 40, dtype=torch.bool))
    assert max(kept) == 40 * 40


def test_graph_reasoning_by_hand():
    """Every pair of nodes through the two-layer network, in a NumPy loop; padded nodes are never read."""
    torch.manual_seed(0)
    layer = GraphReasoning(3, 4).double()
    node, mask = torch.randn(2, 5, 3, dtype=torch.float64), length_mask(torch.tensor([5, 2]), 5)
    first, second = layer.first, layer.second
    ours = layer(node, mask).detach().numpy()
    w1, b1, w2 = (x.detach().numpy() for x in (first.weight, first.bias, second.weight[0]))
    for n, i in np.ndindex(2, 5):
        valid = range(int(mask[n].sum()))
        x = node[n].numpy()
        logit = np.array([w2 @ np.maximum(w1 @ np.concatenate([x[i], x[j]]) + b1, 0) for j in valid])
        weight = np.exp(logit - logit.max())
        np.testing.assert_allclose(ours[n, i], weight / weight.sum() @ x[valid], atol=1e-12)


def test_claim_of_the_released_form_counts_padded_nodes():
    torch.manual_seed(0)
    fair, slip = Coherence(3, 4, 1), Coherence(3, 4, 1, padded_claim=True)
    slip.load_state_dict(fair.state_dict())
    node, mask = torch.randn(1, 4, 3), length_mask(torch.tensor([3]), 4)
    states = fair.product_layers[0](node, mask)
    torch.testing.assert_close(fair.claim(node, mask), states[:, :3].sum(1) / 3)
    torch.testing.assert_close(slip.claim(node, mask), states.sum(1) / 3)


def plain_pooling(
    pooling: KernelMaxPooling, map_BCLR: torch.Tensor, mask_BLR: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolve, tanh, sort: the definition."""
    values = []
    for size, conv in enumerate(pooling.convs):
        answer = torch.tanh(conv(F.pad(map_BCLR, (0, size, 0, size))))
        if mask_BLR is not None:
            answer = answer.masked_fill(~mask_BLR.unsqueeze(1), -torch.inf)
        top = answer.flatten(2).sort(-1, descending=True).values[..., : pooling.keep]
        top = F.pad(top, (0, pooling.keep - top.shape[-1]), value=-torch.inf)
        values.append(top.masked_fill(top == -torch.inf, 0).transpose(1, 2))
    return pooling.norm(torch.stack(values, 1)).flatten(1)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 22])
@pytest.mark.parametrize("masked", [False, True])
def test_kernel_max_pooling_and_its_gradient(monkeypatch, chunk_bytes, masked):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(1)
    pooling = KernelMaxPooling(channels=2, sizes=3, filters=4, keep=5).double()
    masks = length_mask(torch.tensor([6, 2, 0]), 6), length_mask(torch.tensor([7, 2, 4]), 7)
    mask = masks[0].unsqueeze(2) & masks[1].unsqueeze(1)
    map_BCLR = torch.randn(3, 2, 6, 7, dtype=torch.float64)
    map_BCLR = (map_BCLR * mask.unsqueeze(1)).requires_grad_()
    ours = pooling(map_BCLR, *masks) if masked else pooling(map_BCLR)
    expected = plain_pooling(pooling, map_BCLR, mask if masked else None)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)
    weight = torch.randn_like(ours)
    parameters = [map_BCLR, *pooling.parameters()]
    gradients = [
        torch.autograd.grad((value * weight).sum(), parameters, retain_graph=True)
        for value in (ours, expected)
    ]
    # a cell that ties with others (padding) may pass its gradient to any of them: compare what is unique
    for x, y in list(zip(*gradients, strict=True))[0 if masked else 1 :]:
        torch.testing.assert_close(x, y, rtol=0, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99))
def test_masked_pooling_does_not_see_padding(n_rows, n_columns, more_rows, more_columns, seed):
    torch.manual_seed(seed)
    pooling = KernelMaxPooling(channels=1, sizes=2, filters=2, keep=3).double()
    small = torch.randn(1, 1, n_rows, n_columns, dtype=torch.float64)
    large = F.pad(small, (0, more_columns, 0, more_rows))
    masks = (
        length_mask(torch.tensor([n]), n + more)
        for n, more in ((n_rows, more_rows), (n_columns, more_columns))
    )
    torch.testing.assert_close(pooling(large, *masks), pooling(small), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_vectors_and_their_gradient(dtype):
    torch.manual_seed(0)
    x = torch.randn(70, 3, 37, dtype=dtype)
    x[0, 0] = 0
    x[1, 1] = 1e-14
    x.requires_grad_()
    ours, expected = unit_vectors(x), F.normalize(x.detach().double(), dim=-1)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=1e-7)
    weight = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), x)
    exact = x.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad((F.normalize(exact, dim=-1) * weight.double()).sum(), exact)
    wanted[1, 1] = weight.double()[1, 1] / 1e-12  # there y = x / least, whose slope the library rounds off
    torch.testing.assert_close(gradient.double()[0], wanted[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double()[2:], wanted[2:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_pooled_cosines_are_pooled_maps_of_cosines(dtype, masked):
    """Rows share items on both sides; the expected maps come from scikit-learn."""
    torch.manual_seed(2)
    pooling = KernelMaxPooling(channels=6, sizes=3, filters=5, keep=4).to(dtype)
    left, right = torch.randn(3, 2, 6, 20, dtype=dtype), torch.randn(4, 3, 9, 20, dtype=dtype)
    left[0, 0, 1] = 0
    rows = torch.tensor([0, 0, 2, 1, 2]), torch.tensor([3, 1, 1, 0, 2])
    masks = length_mask(torch.tensor([6, 4, 1, 0, 6]), 6), length_mask(torch.tensor([9, 1, 5, 9, 2]), 9)
    maps = np.zeros((5, 2, 3, 6, 9))
    for b, a, c in np.ndindex(5, 2, 3):
        maps[b, a, c] = cosine_similarity(left[rows[0][b], a].numpy(), right[rows[1][b], c].numpy())
    cells = masks[0].unsqueeze(2) & masks[1].unsqueeze(1)
    ours = pooling.cosines(unit_vectors(left), unit_vectors(right), rows, masks if masked else (None, None))
    exact = copy.deepcopy(pooling).double()
    expected = plain_pooling(exact, torch.from_numpy(maps).flatten(1, 2), cells if masked else None)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-9)


def test_product_aware_attention_by_hand():
    torch.manual_seed(0)
    attention = ProductAwareAttention(4).double()
    product, review = torch.randn(2, 3, 4).double(), torch.randn(2, 5, 4).double()
    product_mask, review_mask = length_mask(torch.tensor([3, 1]), 3), length_mask(torch.tensor([2, 5]), 5)
    ours = attention(product, product_mask, review, review_mask).detach().numpy()
    w, b = attention.w.detach().numpy(), attention.b.detach().numpy()[0, 0]
    for n, r in np.ndindex(2, 5):
        p = product[n, : int(product_mask[n].sum())].numpy()
        v = review[n, r].numpy()
        weight = np.exp(np.maximum(p @ w + b, 0) @ v)
        expected = (v + weight / weight.sum() @ p) * bool(review_mask[n, r])
        np.testing.assert_allclose(ours[n, r], expected, atol=1e-12)
    each = torch.arange(2)
    summed = attention.summed((product, product_mask), (review, review_mask), (each, each))
    np.testing.assert_allclose(summed.detach().numpy(), ours.sum(1), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_masked_mean_and_max(counts, seed):
    x = np.random.default_rng(seed).normal(size=(len(counts), 4, 3))
    mask = length_mask(torch.tensor(counts), 4)
    mean, top = masked_mean(torch.from_numpy(x), mask), part_maxima(torch.from_numpy(x), mask, [4])[0]
    for n, count in enumerate(counts):
        np.testing.assert_allclose(mean[n], x[n, :count].mean(0) if count else 0.0, atol=1e-12)
        np.testing.assert_allclose(top[n], x[n, :count].max(0) if count else 0.0)


def test_dropout_keeps_the_mean_at_its_rate():
    torch.manual_seed(0)
    dropout = Dropout(0.3)
    x = torch.ones(200_003, requires_grad=True)  # not a multiple of four
    y = dropout(x)
    dropped = (y == 0).double().mean().item()
    assert abs(dropped - 0.3) < 5 * (0.21 / 200_003) ** 0.5
    np.testing.assert_allclose(y.detach().unique(), [0, 1 / 0.7], rtol=1e-6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y.detach())
    # neighbours, which share a draw, are independent
    keep = (y != 0).double().detach()
    assert abs(float(((keep[:-1] - 0.7) * (keep[1:] - 0.7)).mean())) < 5 * 0.21 / 200_003**0.5


def test_dropout_is_off_in_evaluation_and_seeded_in_training():
    dropout, x = Dropout(0.5), torch.randn(50)
    draws = []
    for _ in range(2):
        torch.manual_seed(4)
        draws.append(dropout(x))
    torch.testing.assert_close(draws[0], draws[1], rtol=0, atol=0)
    assert dropout.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_relu_with_dropout_is_relu_then_dropout():
    dropout, x = Dropout(0.4), torch.randn(1000, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (dropout.relu, lambda value: dropout(torch.relu(value))):
        torch.manual_seed(5)
        y = function(x)
        results += [y, *torch.autograd.grad(y.square().sum(), x)]
    torch.testing.assert_close(results[:2], results[2:])
    assert torch.equal(dropout.eval().relu(x), torch.relu(x))


def test_roi_encoder_layer_is_a_pre_norm_transformer_layer():
    torch.manual_seed(0)
    ours = RoiEncoderLayer(8, 2, 16, 0.0, 0.0, 0.0).double()
    theirs = nn.TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=True, batch_first=True).double()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(
            torch.cat([m.weight for m in (ours.query, ours.key, ours.value)])
        )
        theirs.self_attn.in_proj_bias.copy_(torch.cat([m.bias for m in (ours.query, ours.key, ours.value)]))
    theirs.self_attn.out_proj.load_state_dict(ours.output.state_dict())
    for mine, other in (
        (ours.fc1, "linear1"),
        (ours.fc2, "linear2"),
        *zip(ours.norms, ("norm1", "norm2"), strict=True),
    ):
        getattr(theirs, other).load_state_dict(mine.state_dict())
    x, mask = torch.randn(2, 4, 8).double(), length_mask(torch.tensor([4, 2]), 4)
    expected = theirs(x, src_key_padding_mask=~mask)
    packing = Packing.of(mask)
    torch.testing.assert_close(ours(packing.pack(x), packing)[0], expected[mask], rtol=0, atol=1e-12)


def test_post_norm_layer_is_a_post_norm_transformer_layer():
    torch.manual_seed(0)
    ours = PostNormLayer(8, 2, 16, 0.0).double()
    a, f = ours.attention, ours.feed_forward
    theirs = nn.TransformerEncoderLayer(
        8, 2, 16, 0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    ).double()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([m.weight for m in (a.query, a.key, a.value)]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([m.bias for m in (a.query, a.key, a.value)]))
    theirs.self_attn.out_proj.load_state_dict(a.output.state_dict())
    for mine, other in ((f.inner, "linear1"), (f.output, "linear2"), (a.norm, "norm1"), (f.norm, "norm2")):
        getattr(theirs, other).load_state_dict(mine.state_dict())
    x, mask = torch.randn(2, 4, 8).double(), length_mask(torch.tensor([4, 2]), 4)
    expected = theirs(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(ours(x, mask)[mask], expected[mask], rtol=0, atol=1e-10)


@pytest.mark.parametrize("of", ["joint", "interaction"])
def test_padding_costs_nothing_and_changes_nothing(of):
    """Real positions alone give what the padded forms give there, and zeros elsewhere."""
    torch.manual_seed(0)
    masks = [length_mask(torch.tensor(counts), 5) for counts in ([5, 0, 2], [3, 4, 1])]
    x, y = (torch.randn(3, 5, 8).double() * mask.unsqueeze(-1) for mask in masks)
    found = []
    for padded in (False, True):
        torch.manual_seed(1)
        kind = PostNormLayer if of == "joint" else Interaction
        module = kind(8, 2, 16, 0.0, padded_queries=padded).double()
        found.append(module(y, masks[1]) if of == "joint" else module(x, masks[0], y, masks[1]))
    assert not found[0][~masks[1]].any()
    assert found[1][~masks[1]].any()
    torch.testing.assert_close(found[0][masks[1]], found[1][masks[1]], rtol=0, atol=1e-12)


def test_feed_forward_by_blocks_equals_at_once(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 200)
    feed_forward = PostNormFeedForward(4, 6, 0.0).double()
    x = torch.randn(3, 5, 4).double()
    expected = feed_forward(x)
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(x), expected, rtol=0, atol=1e-12)


def test_text_convolution_by_hand():
    """Windows at the borders see zeros; one output for each kernel size."""
    torch.manual_seed(0)
    encoder = TextConvEncoder(
        layers.word_embedding(CorpusShape(9, 9, 9, 1, 0), "product", 3), 3, 2, (1, 3), 0.0
    ).double()
    token, mask = torch.tensor([[4, 7, 2, 0, 0]]), length_mask(torch.tensor([3]), 5)
    ours = encoder(token, mask).detach().numpy()
    word = np.vstack([np.zeros(3), encoder.embedding(token)[0].detach().numpy(), np.zeros(3)])
    for k, size in enumerate((1, 3)):
        weight, bias = encoder.convs[k].weight.detach().numpy(), encoder.convs[k].bias.detach().numpy()
        for t in range(5):
            start = t + 1 - size // 2
            expected = np.maximum(np.einsum("hek,ke->h", weight, word[start : start + size]) + bias, 0)
            np.testing.assert_allclose(ours[0, k, t], expected * (t < 3), atol=1e-12)


def test_words_get_the_vectors_of_the_corpus():
    vectors = torch.arange(12.0).view(4, 3) + 1
    shape = CorpusShape(4, 4, 4, 1, 0, word_vectors=lambda field, width: vectors)
    table = layers.word_embedding(shape, "review", 3)
    torch.testing.assert_close(table.weight[1:].detach(), vectors[1:])
    assert not table.weight[0].any()
    drawn = layers.word_embedding(CorpusShape(4, 40, 4, 1, 0), "review", 30).weight.detach()
    assert drawn.shape == (40, 30)
    assert not drawn[0].any()
    assert 0.2 < drawn.abs().max() <= 0.25


@pytest.mark.parametrize("index", [[0, 1, 2, 3], [1, 2], [3], [1, 3], [2, 1], [0, 0, 1], [0, 2, 1, 3], []])
def test_rows_of_are_the_indexed_rows(index):
    x, index_B = torch.randn(4, 3, requires_grad=True), torch.tensor(index, dtype=torch.int64)
    ours = rows_of(x, index_B)
    assert torch.equal(ours, x[index_B])
    (gradient,) = torch.autograd.grad(ours.sum(), x)
    assert torch.equal(gradient.sum(1) / 3, torch.bincount(index_B, minlength=4).float())
