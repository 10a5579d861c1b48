"""Building blocks that several baselines share, in the notation of MCR (Liu et al., ACL 2021).

B rows (product, review), N distinct items, T (L product, R review) positions, F features, C channels of a
matching map, S filters of all kernel sizes together, K values kept by a pooling, P taps of a kernel.

Masks are bool, True where valid. In the fair forms no padded position ever changes a valid result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from benchmark.core.types import CorpusShape
from benchmark.kernels.arrays import MASKED
from benchmark.kernels.aware import aware_query, aware_sums, aware_weights
from benchmark.kernels.convolution import convolution
from benchmark.kernels.elementwise import dropout
from benchmark.kernels.linear import Linear, linear
from benchmark.kernels.products import batched_product
from benchmark.kernels.words import WordTable, sum_words


def check_field(field: str, given: str, allowed: tuple[str, ...]) -> None:
    """ValueError unless `given` is allowed, for the fields of a configuration."""
    if given not in allowed:
        raise ValueError(f"{field} is {given!r}; allowed: {', '.join(allowed)}")


def check_heads(width: int, **heads: int) -> None:
    """ValueError unless each number of attention heads divides the width."""
    for field, number in heads.items():
        if number < 1 or width % number:
            raise ValueError(
                f"{field} is {number}, which does not divide the width of {width} that it shares"
            )


def masked_mean(x_NTF: Tensor, mask_NT: Tensor) -> Tensor:
    """Mean over valid positions, `[N, F]`; zeros where there is none."""
    weight_NT1 = mask_NT.to(x_NTF.dtype).unsqueeze(-1)
    return (x_NTF * weight_NT1).sum(1) / weight_NT1.sum(1).clamp(min=1)


def masked_softmax(logit: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among valid positions; zeros where there is none."""
    # where all is masked this is uniform, not NaN; the next line makes it zero
    weight = logit.masked_fill(~mask, MASKED).softmax(-1)
    return weight * mask.any(-1, keepdim=True)


class Dropout(nn.Module):
    """Inverted dropout while training, of a rate exact to 1 / 65536 (`kernels.elementwise.dropout`)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate) if self.training and self.rate else x

    def relu(self, x: Tensor) -> Tensor:
        """dropout(relu(x))."""
        return dropout(x, self.rate, relu=True) if self.training and self.rate else torch.relu(x)

    def add(self, base: Tensor, x: Tensor) -> Tensor:
        """base + dropout(x), of one shape."""
        return dropout(x, self.rate, base=base) if self.training and self.rate else base + x


def word_embedding(corpus: CorpusShape, field: str, width: int) -> WordTable:
    """Trainable word vectors of `product` or `review` texts: the corpus' own vectors if it has some, else
    U(-0.25, 0.25). Row 0 is padding: zero, without a gradient."""
    size = corpus.product_vocabulary if field == "product" else corpus.review_vocabulary
    table = WordTable(size, width, padding_idx=0)
    with torch.no_grad():
        table.weight.uniform_(-0.25, 0.25)
        if corpus.word_vectors is not None:
            table.weight.copy_(corpus.word_vectors(field, width))
        # after the copy, which may have filled it; `padding_idx` then only withholds its gradient
        table.weight[0] = 0
    return table


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given widths with an activation between them (none after the last)."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [activation()] if index else []
        layers.append(Linear(inputs, outputs))
    return nn.Sequential(*layers)


def conv_over_time(x_NTE: Tensor, conv: nn.Conv1d, with_bias: bool = True) -> Tensor:
    """The convolution along texts, `[N, T, H]`."""
    return convolution(x_NTE, conv.weight, conv.bias if with_bias else None, int(conv.padding[0]))


def distinct(token_NT: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """The distinct tokens `[U]`, ascending, and the place of each token among them, `[N, T]`."""
    # what `torch.unique` gives, without its sort: ids are small numbers
    used_V = torch.zeros(vocabulary, dtype=torch.bool, device=token_NT.device)
    used_V[token_NT.flatten()] = True
    return used_V.nonzero().squeeze(1), (used_V.cumsum(0) - 1)[token_NT]


def convs_over_words(
    word_UE: Tensor, slot_NT: Tensor, convs: Iterable[nn.Module], before: Sequence[int]
) -> Tensor:
    """`[N, A, T, C]`: convolutions over texts of which word t is `word_UE[slot_NT[n, t]]`, the window of step t
    beginning `before` steps earlier; zeros beyond the ends. For scoring: what a word adds at each place of a
    window is computed once for each distinct word. Needs the compiled code; no gradient."""
    weights_CEK, bias_AC = zip(*((conv.weight, conv.bias) for conv in convs), strict=True)
    weight_XE = torch.cat([weight_CEK.permute(2, 0, 1).flatten(0, 1) for weight_CEK in weights_CEK])
    product_UX = linear(word_UE.unsqueeze(0), weight_XE).squeeze(0)
    product_UPC = product_UX.view(len(word_UE), -1, len(bias_AC[0]))
    sizes = [weight_CEK.shape[2] for weight_CEK in weights_CEK]
    return sum_words(product_UPC, slot_NT, sizes, before).add_(torch.stack(bias_AC).unsqueeze(1))


class ProductAwareAttention(nn.Module):
    """A review's positions, each with the product positions that it attends to added (PRH-Net, Fan et al.,
    WWW 2019; used by MCR, MCL and SANCL).

    S = relu(P w + b) Vᵀ; softmax over the *product* axis; result V + Sᵀ P, padded review rows zero. There
    is no 1/√F. `w` and `b` are Xavier-uniform, the bias included.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(width, width))
        self.b = nn.Parameter(torch.empty(1, 1, width))
        nn.init.xavier_uniform_(self.w)
        nn.init.xavier_uniform_(self.b)

    def forward(
        self, product_BLF: Tensor, product_mask_BL: Tensor, review_BRF: Tensor, review_mask_BR: Tensor
    ) -> Tensor:
        """`[B, R, F]`. A product without any valid position adds nothing, provided that its padded positions
        are zero."""
        weight_BRL = aware_weights(
            aware_query(product_BLF, self.w, self.b.view(-1)), product_mask_BL, review_BRF
        )
        return (review_BRF + batched_product(weight_BRL, product_BLF)) * review_mask_BR.unsqueeze(-1)

    def summed(
        self,
        product: tuple[Tensor, Tensor],
        review: tuple[Tensor, Tensor],
        rows: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The sum of `forward`'s result over the review's positions, `[B, F]`, for rows that point at products and
        reviews, of which states and mask are given."""
        return aware_sums(*product, *review, rows, self.w, self.b.view(-1))
