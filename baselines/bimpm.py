"""BiMPM (Wang, Hamza, Florian, IJCAI 2017): bilateral multi-perspective matching.

B rows, N distinct items, T tokens (L product, R review), H hidden size per direction, P perspectives.

f(x, y; W)_k = cos(W_k ∘ x, W_k ∘ y). A BiLSTM shared by both texts gives states p and h; for each direction
four matchings of every p_t with the review, and mirrored with the same weights: full (W1, W2), max-pooling
(W3, W4), attentive (W5, W6), max-attentive (W7, W8; odd: forward, even: backward). A second shared BiLSTM
aggregates the 8P features of each step; two dense layers score its four final states.

Fair: masked; the review state with the largest attention in max-attentive (the paper's form).
Released: everything runs over the padding; element-wise maximum of the weighted states in max-attentive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import Dropout, check_field
from baselines.parts.recurrent import BiLSTM, States, reference_lstm_names
from baselines.parts.text_only import FORMS, RELEASED_TEXT_PADDING, text_released_training
from baselines.parts.words import TextConfig, TextMethod, word_tables
from benchmark.core.model import Departure
from benchmark.core.types import Batch, CorpusShape, Items, Padding
from benchmark.kernels.arrays import in_float32, row_chunks
from benchmark.kernels.cosines import weighted_cosines
from benchmark.kernels.elementwise import unit_vectors
from benchmark.kernels.partners import EPSILON, max_cosine
from benchmark.kernels.products import batched_product

MATCHINGS = 4


@dataclass(frozen=True)
class Config(TextConfig):
    form: str = "fair"
    """`fair` or `released`."""
    embedding: int = 300
    """Width of the word vectors."""
    hidden: int = 100
    """H, LSTM width of each direction."""
    perspectives: int = 20
    """P, weight rows of each matching."""
    dropout: float = 0.1
    """Dropout on word vectors, context states, matching features and in the scorer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("form", self.form, FORMS)


class Text(NamedTuple):
    """One direction's context states of one side of the rows."""

    state_BTH: Tensor
    last_BH: Tensor
    """The state where the direction ends."""
    mask_BT: Tensor | None
    """None: padding counts (released)."""


class BiMPM(TextMethod):
    title = "BiMPM"
    reference = "Wang, Hamza, Florian, IJCAI 2017"
    config_class = Config
    quick: ClassVar[Mapping[str, Any]] = {"embedding": 48, "hidden": 20, "perspectives": 4}
    released: ClassVar[Mapping[str, Any] | None] = {
        "form": "released",
        "hidden": 128,
        "perspectives": 8,
        "dropout": 0.5,
    }
    departures = (
        Departure(
            "LSTMs, matching and aggregation stop at each text's own end",
            "the released code runs over the padding: its last state is mostly a padded step",
            ("P11",),
        ),
        Departure("20 perspectives, 100 hidden units, dropout 0.1", "the paper's sizes", ("P11",)),
        Departure(
            "max-attentive matching takes the state with the largest attention, not an element-wise maximum",
            "the paper's definition",
            ("P11",),
        ),
        Departure("an attention sum keeps its sign", "the released code replaces a negative sum by 1e-8"),
        Departure(
            "negatives and passes as for every method; the released Amazon runs have 1 negative, 11 passes",
            "one budget for all",
            ("P9",),
        ),
    )
    reference_names: ClassVar[Mapping[str, str] | None] = {
        "q_embedding.embedding.": "product_embedding.",
        "d_embedding.embedding.": "review_embedding.",
        **reference_lstm_names("context_LSTM.", "context_lstm."),
        **{f"mp_w{i + 1}": f"perspectives.{i}" for i in range(2 * MATCHINGS)},
        **reference_lstm_names("aggregation_LSTM.", "aggregation_lstm."),
        "pred_fc1.": "hidden.",
        "pred_fc2.": "scorer.",
    }

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        width, H, P = config.embedding, config.hidden, config.perspectives
        words = word_tables(config, corpus)
        self.product_embedding = words("product")
        self.review_embedding = words("review")
        self.context_lstm = BiLSTM(width, H)
        self.perspectives = nn.ParameterList(torch.empty(P, H) for _ in range(2 * MATCHINGS))
        self.aggregation_lstm = BiLSTM(2 * MATCHINGS * P, H)
        self.hidden = nn.Linear(4 * H, 2 * H)
        self.scorer = nn.Linear(2 * H, 1)
        self.dropout = Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        """As released: Kaiming-normal input and perspective weights, orthogonal recurrence, zero biases and a
        small first dense layer."""
        for weight in self.perspectives:
            nn.init.kaiming_normal_(weight)
        for lstm in (self.context_lstm, self.aggregation_lstm):
            for name, weight in lstm.named_parameters():
                if "weight_ih" in name:
                    nn.init.kaiming_normal_(weight)
                elif "weight_hh" in name:
                    nn.init.orthogonal_(weight)
                else:
                    nn.init.zeros_(weight)
        nn.init.uniform_(self.hidden.weight, -0.005, 0.005)
        nn.init.zeros_(self.hidden.bias)

    @classmethod
    def config_from_reference(cls, config: Mapping[str, Any]) -> tuple[Config, CorpusShape]:
        shape, text = config["shape"], config["prd_txt_encoder"]
        return (
            Config(
                form="released",
                embedding=text["embedding"]["embed_dim"],
                hidden=text["encoder"]["hidden_dimension"],
                perspectives=config["multi_perceptive"]["num_perspective"],
                dropout=config["input_setting"]["dropout"],
            ),
            CorpusShape(shape["vocab_left"], shape["vocab_right"], 0, 1, 0),
        )

    @classmethod
    def released_training(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """Learning rate 1e-3, on Lazada clothing 1e-4; else as shared by the text-only runs."""
        slow = (dataset, category) == ("lazada", "clothing")
        return {**text_released_training(dataset), "learning_rate": 1e-4 if slow else 1e-3}

    @property
    def padding(self) -> Padding:
        return RELEASED_TEXT_PADDING if self.config.form == "released" else Padding()

    @property
    def masked(self) -> bool:
        return bool(self.config.form == "fair")

    def scorer_input(self, batch: Batch) -> Tensor:
        """Final aggregation states `[p_fw, p_bw, h_fw, h_bw]`, `[B, 4H]`."""
        product_N, review_N = self._context(batch)
        product_BLM, review_BRM = self._matching(product_N, review_N, batch)
        product, review = self._shared(
            self.aggregation_lstm,
            (self.dropout(product_BLM), batch.products.token_count_N[batch.product_B]),
            (self.dropout(review_BRM), batch.reviews.token_count_N[batch.review_B]),
        )
        return torch.cat([product.last, review.last], 1)

    def score(self, batch: Batch) -> Tensor:
        hidden_BF = torch.tanh(self.hidden(self.dropout(self.scorer_input(batch))))
        score_B1: Tensor = self.scorer(self.dropout(hidden_BF))
        return score_B1.squeeze(1)

    def _context(self, batch: Batch) -> tuple[States, States]:
        """Context states of the distinct products and reviews."""
        word_NLE = self._words(self.product_embedding, batch.products.token_NT)
        word_NRE = self._words(self.review_embedding, batch.reviews.token_NT)
        product, review = self._shared(
            self.context_lstm,
            (word_NLE, batch.products.token_count_N),
            (word_NRE, batch.reviews.token_count_N),
        )
        return self._dropped(product, batch.products), self._dropped(review, batch.reviews)

    def _words(self, embedding: nn.Module, token_NT: Tensor) -> Tensor:
        word_NTE: Tensor = self.dropout(embedding(token_NT))
        # the released code drops word vectors twice
        return word_NTE if self.masked else self.dropout(word_NTE)

    def _dropped(self, states: States, items: Items) -> States:
        """Dropout on the context states; a direction's last state is one of them, dropped the same way."""
        forward, backward = self.dropout(states.forward_NTH), self.dropout(states.backward_NTH)
        row_N = torch.arange(len(items), device=forward.device)
        # released, the forward direction ends in the padding (P11)
        last_N = items.token_count_N - 1 if self.masked else torch.full_like(row_N, forward.shape[1] - 1)
        return States(forward, backward, forward[row_N, last_N], backward[:, 0])

    def _shared(
        self, lstm: BiLSTM, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]
    ) -> tuple[States, States]:
        """One LSTM over two sets of sequences `(x_NTE, count_N)`, in one call where their lengths allow it."""
        (x_NLE, count_N), (x_MRE, count_M) = left, right
        L, R = x_NLE.shape[1], x_MRE.shape[1]
        if not self.masked:
            if L != R:
                return lstm(x_NLE), lstm(x_MRE)
            both = lstm(torch.cat([x_NLE, x_MRE]))
        else:
            # one length for both changes nothing: with counts the LSTM stops at each text's own end
            size = max(L, R)
            x = torch.cat([F.pad(x_NLE, (0, 0, 0, size - L)), F.pad(x_MRE, (0, 0, 0, size - R))])
            both = lstm(x, torch.cat([count_N, count_M]))
        N = len(x_NLE)
        forward, backward, *last = both
        return (
            States(forward[:N, :L], backward[:N, :L], *(state[:N] for state in last)),
            States(forward[N:, :R], backward[N:, :R], *(state[N:] for state in last)),
        )

    def _matching(self, product_N: States, review_N: States, batch: Batch) -> tuple[Tensor, Tensor]:
        """The 8P features of every step: `[B, L, 8P]` of the product, `[B, R, 8P]` of the review."""
        product_mask = batch.products.token_mask_NT[batch.product_B] if self.masked else None
        review_mask = batch.reviews.token_mask_NT[batch.review_B] if self.masked else None
        product_features, review_features = [], []
        for direction in (0, 1):
            product = Text(
                product_N[direction][batch.product_B], product_N[2 + direction][batch.product_B], product_mask
            )
            review = Text(
                review_N[direction][batch.review_B], review_N[2 + direction][batch.review_B], review_mask
            )
            weights = [self.perspectives[2 * matching + direction] for matching in range(MATCHINGS)]
            product_part, review_part = self._direction(product, review, weights)
            product_features += product_part
            review_features += review_part
        return torch.cat(product_features, -1), torch.cat(review_features, -1)

    def _direction(
        self, product: Text, review: Text, weights: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Full, max-pooling, attentive and max-attentive matching of one direction, `[B, T, P]` each."""
        p_BLH, h_BRH = product.state_BTH, review.state_BTH
        full, pooling, attentive, max_attentive = weights
        p_mean, h_mean, p_max, h_max = self._attention(product, review)
        p_pooled, h_pooled = max_cosine(p_BLH, h_BRH, pooling, product.mask_BT, review.mask_BT)
        compared = [full, attentive, max_attentive]
        p_full, *p_attended = weighted_cosines(
            p_BLH, [review.last_BH.unsqueeze(1), p_mean, p_max], compared, product.mask_BT
        )
        h_full, *h_attended = weighted_cosines(
            h_BRH, [product.last_BH.unsqueeze(1), h_mean, h_max], compared, review.mask_BT
        )
        p_features, h_features = [p_full, p_pooled, *p_attended], [h_full, h_pooled, *h_attended]
        return p_features, h_features

    def _attention(self, product: Text, review: Text) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the attentive and max-attentive matchings compare each step with: for p_t the mean of h weighted
        by α_ts = cos(p_t, h_s), mirrored for h_s, and the same with the maximum."""
        p_BLH, h_BRH = product.state_BTH, review.state_BTH
        # α, a cosine: its signs differ, so that a sum over it can vanish (see `weighted_mean`)
        p_unit, h_unit = unit_vectors(p_BLH, EPSILON), unit_vectors(h_BRH, EPSILON)
        weight_BLR = batched_product(p_unit, h_unit.transpose(1, 2))
        weight_BRL = weight_BLR.transpose(1, 2)
        if not self.masked:
            return (
                weighted_mean(weight_BLR, h_BRH, keep_sign=False),
                weighted_mean(weight_BRL, p_BLH, keep_sign=False),
                elementwise_maximum(weight_BLR, h_BRH),
                elementwise_maximum(weight_BRL, p_BLH),
            )
        # padded states are zero, so their weights are zero too and the means need no mask
        return (
            weighted_mean(weight_BLR, h_BRH, keep_sign=True),
            weighted_mean(weight_BRL, p_BLH, keep_sign=True),
            most_attended(weight_BLR, h_BRH, review.mask_BT),
            most_attended(weight_BRL, p_BLH, product.mask_BT),
        )


def weighted_mean(weight_BTS: Tensor, y_BSH: Tensor, *, keep_sign: bool) -> Tensor:
    """Σ_s α_ts y_s / Σ_s α_ts, `[B, T, H]`. Released (`keep_sign` off): a negative or tiny sum becomes 1e-8,
    the numerator stays, so the vector of a negative sum points the wrong way."""
    total_BT1 = weight_BTS.sum(-1, keepdim=True)
    usable = total_BT1.abs() > EPSILON if keep_sign else total_BT1 > EPSILON
    return batched_product(weight_BTS, y_BSH) / torch.where(usable, total_BT1, EPSILON)


def most_attended(weight_BTS: Tensor, y_BSH: Tensor, mask_BS: Tensor | None) -> Tensor:
    """The valid y_s of the largest α_ts, `[B, T, H]`."""
    if mask_BS is not None:
        weight_BTS = weight_BTS.masked_fill(~mask_BS.unsqueeze(1), -torch.inf)
    # α gets no gradient from this matching, the state that it picks gets all of it
    best_BT = weight_BTS.argmax(-1)
    B, S, H = y_BSH.shape
    row_BT = best_BT + S * torch.arange(B, device=best_BT.device)[:, None]
    return y_BSH.reshape(B * S, H).index_select(0, row_BT.reshape(-1)).view(B, -1, H)


def elementwise_maximum(weight_BTS: Tensor, y_BSH: Tensor) -> Tensor:
    """max_s α_ts y_sd for every component d, `[B, T, H]`."""
    with in_float32(weight_BTS, y_BSH) as arrays:
        result: Tensor = _ElementwiseMaximum.apply(*arrays)  # type: ignore[no-untyped-call]
    return result


class _ElementwiseMaximum(torch.autograd.Function):
    """The `[T, S, H]` products of a row exist only for a few steps t at a time. They are made again in the
    backward pass to find the winners, which is faster than to ask `max` for them."""

    @staticmethod
    def forward(ctx: Any, weight_BTS: Tensor, y_BSH: Tensor) -> Tensor:
        best_BTH = torch.empty_like(weight_BTS[:, :, :1].expand(-1, -1, y_BSH.shape[2]))
        for b, steps in _steps(weight_BTS, y_BSH):
            product_TSH = weight_BTS[b, steps, :, None] * y_BSH[b]
            torch.amax(product_TSH, 1, out=best_BTH[b, steps])
        ctx.save_for_backward(weight_BTS, y_BSH, best_BTH)
        return best_BTH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient goes to the winner; equal products share it."""
        weight_BTS, y_BSH, best_BTH = ctx.saved_tensors
        (grad_BTH,) = grads
        grad_weight, grad_y = torch.empty_like(weight_BTS), torch.zeros_like(y_BSH)
        for b, steps in _steps(weight_BTS, y_BSH):
            weight_TS1 = weight_BTS[b, steps, :, None]
            # the forward pass' products bit for bit, so that at least one equals the maximum
            winner_TSH = (weight_TS1 * y_BSH[b]).eq_(best_BTH[b, steps, None])  # 1 or 0, in place
            winner_TSH *= (grad_BTH[b, steps] / winner_TSH.sum(1)).unsqueeze(1)
            grad_weight[b, steps] = (winner_TSH * y_BSH[b]).sum(2)
            grad_y[b] += winner_TSH.mul_(weight_TS1).sum(0)
        return grad_weight, grad_y


def _steps(weight_BTS: Tensor, y_BSH: Tensor) -> Iterator[tuple[int, slice]]:
    """A row and some of its steps t at a time."""
    B, T, S = weight_BTS.shape
    for b in range(B):
        for steps in row_chunks(T, S * y_BSH.shape[2] * y_BSH.element_size()):
            yield b, steps
