"""Building blocks that several baselines share, in the notation of MCR (Liu et al., ACL 2021).

B rows (product, review), N distinct items, T (L product, R review) positions, F features, C channels of a
matching map, S filters of all kernel sizes together, K values kept by a pooling, P taps of a kernel.

Masks are bool, True where valid. In the fair forms no padded position ever changes a valid result.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.core import kernels
from benchmark.core.types import CorpusShape

MASKED = -1e23
"""Logit of a masked position; finite, so that a fully masked row stays finite too."""

LEAST_LENGTH = 1e-12
"""Length that a vector is divided by at least."""

LARGE_PRODUCT = 1 << 24
"""Multiplications from which on `linear` is a convolution."""

CHUNK_BYTES = 1 << 22
"""Size of the temporary of one step of a loop over rows: it should stay in the cache."""


@contextlib.contextmanager
def in_float32(*arrays: Tensor) -> Iterator[list[Tensor]]:
    """The arrays, half precisions widened, with autocast off: for what half precisions would spoil or break."""
    half = (torch.bfloat16, torch.float16)
    with torch.autocast(arrays[0].device.type, enabled=False):
        yield [x.float() if x.dtype in half else x for x in arrays]


def check_choice(field: str, given: str, allowed: tuple[str, ...]) -> None:
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


def row_chunks(n_rows: int, row_bytes: int) -> Iterator[slice]:
    """Slices of rows whose temporaries of `row_bytes` each stay within `CHUNK_BYTES`."""
    size = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def masked_mean(x_NTF: Tensor, mask_NT: Tensor) -> Tensor:
    """Mean over valid positions, `[N, F]`; zeros where there is none."""
    weight_NT1 = mask_NT.to(x_NTF.dtype).unsqueeze(-1)
    return (x_NTF * weight_NT1).sum(1) / weight_NT1.sum(1).clamp(min=1)


def masked_max(x_NTF: Tensor, mask_NT: Tensor) -> Tensor:
    """Element-wise maximum over valid positions, `[N, F]`; zeros where there is none."""
    top_NF = x_NTF.masked_fill(~mask_NT.unsqueeze(-1), -torch.inf).amax(1)
    return torch.where(mask_NT.any(1, keepdim=True), top_NF, torch.zeros_like(top_NF))


def masked_softmax(logit: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among valid positions; zeros where there is none."""
    weight = logit.masked_fill(~mask, MASKED).softmax(-1)
    return weight * mask.any(-1, keepdim=True)


class Dropout(nn.Module):
    """Inverted dropout. On a CPU one draw serves several elements (drawing with `nn.Dropout` was a quarter of a
    training step there); the rate is exact to 1 / 65536."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        if kernels.usable(x):
            return kernels.dropout(x, self.rate)
        return x * self._keep(x).to(x.dtype).div_(1 - self.rate)

    def relu(self, x: Tensor) -> Tensor:
        """dropout(relu(x)), with one mask for both, so that each pass over `x` is made once."""
        if not self.training or self.rate == 0 or x.device.type != "cpu":
            return self.forward(torch.relu(x))
        if kernels.usable(x):
            return kernels.dropout(x, self.rate, relu=True)
        keep = self._keep(x).logical_and_(x > 0)
        return x * keep.to(x.dtype).div_(1 - self.rate)

    def add(self, base: Tensor, x: Tensor) -> Tensor:
        """base + dropout(x), of one shape."""
        if self.training and self.rate > 0 and kernels.usable(base, x):
            return kernels.dropout(x, self.rate, base=base)
        return base + self.forward(x)

    def _keep(self, x: Tensor) -> Tensor:
        """bool, True with probability 1 - rate."""
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draw = bits.view(torch.int16)[: x.numel()].view(x.shape)  # uniform on -32768 .. 32767
        keep: Tensor = draw >= round(self.rate * 65536) - 32768
        return keep


def word_embedding(corpus: CorpusShape, field: str, width: int) -> nn.Embedding:
    """Trainable word vectors of `product` or `review` texts: the corpus' own vectors if it has some, else
    U(-0.25, 0.25). Row 0 is padding: zero, without a gradient."""
    size = corpus.product_vocabulary if field == "product" else corpus.review_vocabulary
    table = nn.Embedding(size, width, padding_idx=0)
    with torch.no_grad():
        table.weight.uniform_(-0.25, 0.25)
        if corpus.word_vectors is not None:
            table.weight.copy_(corpus.word_vectors(field, width))
        table.weight[0] = 0
    return table


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given widths with an activation between them (none after the last)."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [activation()] if index else []
        layers.append(Linear(inputs, outputs))
    return nn.Sequential(*layers)


def linear(x_NTF: Tensor, weight_HF: Tensor, bias_H: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, `[N, T, H]`. Where it is large, a CPU computes it as a convolution of size one: the same products, in
    a library that is a sixth to a third faster at them than the one behind `F.linear` (forward and
    backward, AMD Zen 4)."""
    if x_NTF.device.type != "cpu" or x_NTF.numel() * len(weight_HF) < LARGE_PRODUCT:
        return F.linear(x_NTF, weight_HF, bias_H)
    x_NF1T = x_NTF.transpose(1, 2).unsqueeze(2)
    return F.conv2d(x_NF1T, weight_HF[:, :, None, None], bias_H).squeeze(2).transpose(1, 2)


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear` where the input has positions."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() == 3:
            return linear(input, self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)


def with_own_linear(module: nn.Module) -> nn.Module:
    """The module of another library, its linear maps computed by `linear`."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear  # the parameters, and all that knows of them, stay
    return module


def conv_over_time(x_NTE: Tensor, conv: nn.Conv1d, with_bias: bool = True) -> Tensor:
    """`[N, T, H]`, written as a convolution of two axes, for which no axis need be moved in memory."""
    x_NE1T = x_NTE.transpose(1, 2).unsqueeze(2)
    y_NH1T = F.conv2d(
        x_NE1T, conv.weight.unsqueeze(2), conv.bias if with_bias else None, padding=(0, int(conv.padding[0]))
    )
    return y_NH1T.squeeze(2).transpose(1, 2)


def distinct(token_NT: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """The distinct tokens `[U]`, ascending, and the place of each token among them, `[N, T]`."""
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
    return kernels.sum_words(product_UPC, slot_NT, sizes, before).add_(torch.stack(bias_AC).unsqueeze(1))


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
        weight_BRL = self._weights(self.query(product_BLF), product_mask_BL, review_BRF)
        return (review_BRF + weight_BRL @ product_BLF) * review_mask_BR.unsqueeze(-1)

    def summed(
        self,
        product_BLF: Tensor,
        product_mask_BL: Tensor,
        review_BRF: Tensor,
        review_mask_BR: Tensor,
        query_BLF: Tensor | None = None,
    ) -> Tensor:
        """The sum of `forward`'s result over the review's positions, `[B, F]`: Σ_r V_r + (Σ_r Sᵀ_r) P, half the
        work. `query_BLF` is `query(product_BLF)`, where it is known already."""
        if query_BLF is None:
            query_BLF = self.query(product_BLF)
        weight_BRL = self._weights(query_BLF, product_mask_BL, review_BRF)
        mask_B1R = review_mask_BR.to(review_BRF.dtype).unsqueeze(1)
        return (mask_B1R @ review_BRF + (mask_B1R @ weight_BRL) @ product_BLF).squeeze(1)

    def query(self, product_NLF: Tensor) -> Tensor:
        """relu(P w + b), which the review's positions are compared with."""
        return torch.relu(product_NLF @ self.w + self.b)

    @staticmethod
    def _weights(query_BLF: Tensor, product_mask_BL: Tensor, review_BRF: Tensor) -> Tensor:
        """Sᵀ: what each review position takes of each product position, `[B, R, L]`."""
        logit_BRL = review_BRF @ query_BLF.transpose(1, 2)
        return logit_BRL.masked_fill_(~product_mask_BL.unsqueeze(1), MASKED).softmax(-1)


def unit_vectors(x: Tensor) -> Tensor:
    """x / |x| along the last axis; a zero vector stays zero."""
    if kernels.usable(x):
        return kernels.unit_vectors(x, LEAST_LENGTH)
    return F.normalize(x, dim=-1, eps=LEAST_LENGTH)


class KernelMaxPooling(nn.Module):
    """The strongest answers of small filters on a matching map (MCR's pooling), layer-normalised.

    For sizes 1..n: pad the map with size-1 zero rows at the bottom and columns at the right, convolve with
    `filters` kernels of size x size, tanh, keep the `keep` largest values of each filter in descending
    order. Layer norm over all [n, keep, filters] values together; flattened in that order.

    Only the winners carry a gradient, so they are found without one and just their cells are computed again:
    the filtered maps are never kept, nor differentiated.

    With masks (cells outside them must be zero) only cells of valid rows and columns can win, and a slot for
    which there is no cell is 0; without, padded cells compete too, as in the released code.
    """

    def __init__(self, channels: int, sizes: int, filters: int, keep: int) -> None:
        super().__init__()
        self.sizes, self.filters, self.keep = sizes, filters, keep
        self.convs = nn.ModuleList(nn.Conv2d(channels, filters, size + 1) for size in range(sizes))
        self.norm = nn.LayerNorm([sizes, keep, filters])

    @property
    def width(self) -> int:
        return self.sizes * self.keep * self.filters

    def cosines(
        self,
        left_NALF: Tensor,
        right_MCRF: Tensor,
        rows: tuple[Tensor, Tensor],
        masks: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> Tensor:
        """`[B, width]` for maps of cosines, one channel for each of the A left and C right representations of
        items, which are unit vectors. Rows point at items by indices `[B]` each; masks are those of rows,
        `[B, L]` and `[B, R]`."""
        if not kernels.usable(left_NALF, right_MCRF):
            left_B, right_B = rows
            map_BACLR = torch.einsum("balf,bcrf->baclr", left_NALF[left_B], right_MCRF[right_B])
            return self.forward(map_BACLR.flatten(1, 2), *masks)
        weight = torch.cat([conv.weight.flatten() for conv in self.convs])  # type: ignore[operator]
        value_BSK = kernels.strongest_cosines(
            left_NALF, right_MCRF, weight, rows, masks, self.sizes, self.keep
        )
        return self._normed(value_BSK + self._bias().unsqueeze(1), value_BSK > -torch.inf)

    def forward(
        self, map_BCLR: Tensor, row_mask_BL: Tensor | None = None, column_mask_BR: Tensor | None = None
    ) -> Tensor:
        """`[B, width]`."""
        n_columns = map_BCLR.shape[-1]
        weight_SCP = self._stacked()
        with torch.no_grad():
            cell_BSK, found_BSK = self._winners(map_BCLR.detach(), row_mask_BL, column_mask_BR)
        padded_BCLR = F.pad(map_BCLR, (0, self.sizes - 1, 0, self.sizes - 1))
        row, column = cell_BSK // n_columns, cell_BSK % n_columns
        tap = torch.arange(self.sizes, device=cell_BSK.device)
        row_BSKPP, column_BSKPP = row[..., None, None] + tap[:, None], column[..., None, None] + tap
        index_BX = (row_BSKPP * (n_columns + self.sizes - 1) + column_BSKPP).flatten(1)
        index_BCX = index_BX.unsqueeze(1).expand(-1, padded_BCLR.shape[1], -1)
        patch_BCX = padded_BCLR.flatten(2).gather(2, index_BCX)
        patch_BCSKP = torch.unflatten(patch_BCX, 2, (*cell_BSK.shape[1:], -1))
        value_BSK = torch.einsum("bcskp,scp->bsk", patch_BCSKP, weight_SCP) + self._bias().unsqueeze(1)
        return self._normed(value_BSK, found_BSK)

    def _normed(self, value_BSK: Tensor, found_BSK: Tensor) -> Tensor:
        """tanh, order and layer norm of the winners' values."""
        value_BSK = torch.tanh(value_BSK).masked_fill(~found_BSK, 0)
        value = torch.unflatten(value_BSK, 1, (self.sizes, self.filters)).transpose(2, 3)
        normed: Tensor = self.norm(value)
        return normed.flatten(1)

    def _bias(self) -> Tensor:
        """`[S]`."""
        return torch.cat([conv.bias for conv in self.convs])  # type: ignore[misc]

    def _stacked(self) -> Tensor:
        """All kernels as one, zero-padded to the largest size: `[S, C, P]`."""
        weights = [F.pad(conv.weight, (0, self.sizes - 1 - i) * 2) for i, conv in enumerate(self.convs)]  # type: ignore[arg-type]
        return torch.cat(weights).flatten(2)

    def _winners(
        self, map_BCLR: Tensor, row_mask_BL: Tensor | None, column_mask_BR: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cells (row * columns + column) of the `keep` largest answers of each filter, `[B, S, K]`, and
        whether there was such a cell. tanh and the bias do not change an order."""
        if kernels.usable(map_BCLR):
            weight = torch.cat([conv.weight.flatten() for conv in self.convs])  # type: ignore[operator]
            masks = row_mask_BL, column_mask_BR
            _, cell_BSK = kernels.strongest(
                map_BCLR.unsqueeze(1).transpose(2, 3), weight, self.sizes, self.keep, *masks
            )
            return cell_BSK.clamp(min=0).long(), cell_BSK >= 0
        weight_SCP = self._stacked()
        n_taps, shift = self.sizes, self.sizes - 1
        n_rows, n_columns = map_BCLR.shape[2:]
        padded_BCLR = F.pad(map_BCLR, (0, shift, 0, shift))
        keep = min(self.keep, n_rows * n_columns)
        row_bytes = n_rows * n_columns * padded_BCLR.element_size() * weight_SCP[0].numel()
        cells, found = [], []
        patch_BCPPLR = padded_BCLR.new_empty(0)
        for chunk in row_chunks(len(padded_BCLR), row_bytes):
            part_BCLR = padded_BCLR[chunk]
            if len(part_BCLR) != len(patch_BCPPLR):  # reused: a fresh one costs a page fault per 4 KB
                patch_BCPPLR = part_BCLR.new_empty(*part_BCLR.shape[:2], n_taps, n_taps, n_rows, n_columns)
            for i, j in itertools.product(range(n_taps), repeat=2):
                patch_BCPPLR[:, :, i, j] = part_BCLR[:, :, i : i + n_rows, j : j + n_columns]
            answer_BSLR = torch.unflatten(
                weight_SCP.flatten(1)
                .expand(len(part_BCLR), -1, -1)
                .bmm(patch_BCPPLR.flatten(4).flatten(1, 3)),
                2,
                (n_rows, n_columns),
            )
            if row_mask_BL is not None:
                answer_BSLR.masked_fill_(~row_mask_BL[chunk, None, :, None], -torch.inf)
            if column_mask_BR is not None:
                answer_BSLR.masked_fill_(~column_mask_BR[chunk, None, None, :], -torch.inf)
            top = answer_BSLR.flatten(2).topk(keep)
            cells.append(F.pad(top.indices, (0, self.keep - keep)))
            found.append(F.pad(top.values > -torch.inf, (0, self.keep - keep)))
        return torch.cat(cells), torch.cat(found)
