"""Every choice that the papers and the released code leave open, in one place (torch-free).

A decision has an id, the place in the paper that raises it, its options (the default first) and the reason
for the default. Configuration fields take their default, documentation and allowed values from here
(`decided`, `validate`), so that `bench decisions`, `bench multiverse` and the documentation cannot drift
from the code.

A setting's key is a qualified configuration field, as in `--set`: `mmss.visual_order`, `train.negatives`.
A decision that another option of the command line carries has no field; `how` then says which.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.core.errors import UsageError

Scope = Literal["mmss", "baselines", "protocol"]
OpenEnded = Literal["", "number", "text"]


@dataclass(frozen=True)
class Option:
    """One answer to a decision."""

    value: Any
    """Value of the decision's (first) field, or a name where it has none."""
    meaning: str
    also: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values of the decision's further fields, by qualified name; those left out keep their default."""


@dataclass(frozen=True)
class Decision:
    """An open question and its answers; the first option is the default."""

    id: str
    question: str
    where: str
    """Where in the paper (or in the released code) the question arises."""
    options: tuple[Option, ...]
    reason: str
    """Why the default is the default."""
    fields: tuple[str, ...] = ()
    """Qualified configuration fields that carry it, the main one first."""
    scope: Scope = "mmss"
    open_ended: OpenEnded = ""
    """`number` or `text`: other values than the listed options are allowed too."""
    minimum: float | None = None
    """Smallest value of an open-ended number."""
    how: str = ""
    """How it is chosen where no field carries it."""

    @property
    def field(self) -> str | None:
        """The main configuration field; None where another option carries the decision."""
        return self.fields[0] if self.fields else None

    @property
    def default(self) -> Any:
        """Value of the main field."""
        return self.options[0].value

    def settings(self, option: Option) -> dict[str, Any]:
        """Every field of this decision -> its value under `option`."""
        if not self.fields:
            return {}
        first, *rest = self.fields
        default = self.options[0].also
        return {first: option.value, **{name: option.also.get(name, default.get(name)) for name in rest}}

    def allowed(self, name: str) -> list[Any]:
        """Values of one field over all options, without repetition, default first."""
        values: list[Any] = []
        for option in self.options:
            value = self.settings(option)[name]
            if value not in values:
                values.append(value)
        return values

    def check(self, name: str, value: Any) -> None:
        """UsageError unless `value` may stand in the field `name`."""
        allowed = self.allowed(name)
        if any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in allowed):
            return
        listed = ", ".join(repr(known) for known in allowed)
        if self.open_ended == "number" and not isinstance(allowed[0], str | bool):
            kind, name_of_kind = (int, "integer") if isinstance(allowed[0], int) else (int | float, "number")
            floor = -math.inf if self.minimum is None else self.minimum
            if isinstance(value, kind) and not isinstance(value, bool) and floor <= value < math.inf:
                return
            listed = f"{name_of_kind} from {floor:g}, e.g. {listed}"
        elif self.open_ended == "text" and isinstance(value, str) and value:
            return
        raise UsageError(f"{name}={value!r} ({self.id}): {self.question} Allowed: {listed}.")


_MMSS = (
    Decision(
        "D-BERT",
        "Which pre-trained text encoder, and how does its width become d_t = 128?",
        "4.1, Eq. 2; A.2 (`word embedding size 512, hidden layer dimension 128`)",
        (
            Option(
                "google/bert_uncased_L-12_H-128_A-2",
                "the public 12-layer, 128-wide BERT miniature; 512 is its number of positions",
            ),
            Option("bert-base-uncased", "768 wide, with a linear projection to 128"),
            Option(
                "bert-base-multilingual-uncased", "multilingual, for Lazada's Indonesian; projected to 128"
            ),
            Option("indobenchmark/indobert-base-p1", "Indonesian, for Lazada; projected to 128"),
            Option("scratch", "a small encoder trained from nothing on the joint word vocabulary"),
        ),
        "The only public BERT with 12 layers and 128 hidden units. English on both data sets, because the "
        "paper blames Lazada's smaller gain on an English BERT.",
        ("mmss.encoder",),
        open_ended="text",
    ),
    Decision(
        "D-MAXLEN",
        "How many tokens of a text are kept?",
        "4.1, Eq. 2 (no limit given)",
        (Option(128, "both texts, the field's released value"), Option(256, "twice that")),
        "The released code of the field cuts both texts at 128.",
        ("train.max_tokens",),
        open_ended="number",
        minimum=1,
    ),
    Decision(
        "D-VISORDER",
        "Is attention over RoIs applied before or after the projection to d_v = 128?",
        "4.1, vision",
        (
            Option("attend-then-project", "self-attention at the RoI width (2048), then linear, as printed"),
            Option("project-then-attend", "linear first (MCR's order), about 16 times cheaper"),
        ),
        "The order that the paper prints.",
        ("mmss.visual_order",),
    ),
    Decision(
        "D-VISSHARE",
        "Do product and review share the visual encoder?",
        "4.1, vision",
        (Option(True, "one encoder for both"), Option(False, "one each")),
        "One set of symbols in the paper; MCR as released shares it.",
        ("mmss.visual_shared",),
    ),
    Decision(
        "D-ATT",
        "How many heads has Self-ATT, and has it a residual connection with LayerNorm?",
        "4.2, Eq. 3-5",
        (
            Option(1, "one head, bare attention", {"mmss.attention_residual": False}),
            Option(4, "four heads, bare attention", {"mmss.attention_residual": False}),
            Option(1, "one head, residual and LayerNorm", {"mmss.attention_residual": True}),
            Option(4, "four heads, residual and LayerNorm", {"mmss.attention_residual": True}),
        ),
        "The equations show a bare attention layer.",
        ("mmss.attention_heads", "mmss.attention_residual"),
        open_ended="number",
        minimum=1,
    ),
    Decision(
        "D-ATTSHARE",
        "Do the five interactions share the weights of Self-ATT?",
        "4.2, Eq. 3-5",
        (Option(False, "one set per interaction"), Option(True, "one set for all")),
        "The five are described as separate modules.",
        ("mmss.attention_shared",),
    ),
    Decision(
        "D-DG",
        "How wide are the task representations f_g* and f_s*?",
        "4.3, Eq. 7; 4.4, Eq. 9 (no width given)",
        (Option(128, "as d_t and d_v"), Option(64, "half"), Option(256, "twice")),
        "The one hidden width that the paper names.",
        ("mmss.d_g",),
        open_ended="number",
        minimum=2,
    ),
    Decision(
        "D-SUBMLP",
        "What is the MLP that turns f_s* into a subtask's prediction?",
        "4.4, Eq. 9",
        (
            Option("hidden", "one hidden layer of d_g/2 with GELU, then linear"),
            Option("linear", "a single linear layer, like the target task's Eq. 8"),
        ),
        "An MLP has a hidden layer; GELU is the paper's activation.",
        ("mmss.subtask_mlp",),
    ),
    Decision(
        "D-EPS",
        "What is eps_k(i), `the modification value of the i-th sample`?",
        "A.1, Eq. 17 (undefined)",
        (
            Option("representation", "eps_k(i) = f_k*(i): a label-weighted centroid of the representations"),
            Option("unweighted", "the plain centroid, without the weights sigmoid(y): a control"),
        ),
        "Nothing else in the paper has the type that Eq. 18 needs.",
        ("mmss.anchor",),
    ),
    Decision(
        "D-COV",
        "What is Sigma in the Mahalanobis distance?",
        "A.1, Eq. 18 (`the covariance matrix between f* and anchor`)",
        (
            Option("ledoit-wolf", "second moment about the anchor, shrunk towards its scaled identity"),
            Option("ridge", "second moment about the anchor plus a fixed ridge"),
            Option("diagonal", "its diagonal only"),
            Option("euclidean", "none: Euclidean distance, as in Self-MM"),
        ),
        "A full covariance as the text says; shrunk so that it can be inverted at any number of reviews.",
        ("mmss.covariance",),
    ),
    Decision(
        "D-SCALE",
        "What is s_k under the distance?",
        "A.1, Eq. 18 (undefined)",
        (
            Option("dim", "the dimension of f_k*: the mean squared distance becomes 1 in every task"),
            Option("rms", "the mean squared distance itself, so that it is exactly 1 after shrinkage too"),
            Option("one", "1: no scaling"),
        ),
        "The `equal distribution of dimensions` that the text asks for.",
        ("mmss.distance_scale",),
    ),
    Decision(
        "D-OFFSET",
        "Which form of Eq. 21 gives the estimate of a pseudo label?",
        "A.1, Eq. 19-21 (the second printed line does not equal the first)",
        (
            Option("derived", "the mean of the ratio and the difference form, as the first line says"),
            Option("printed", "the second line as printed"),
        ),
        "The first line follows from Eq. 19 and 20; the second does not.",
        ("mmss.offset",),
    ),
    Decision(
        "D-ALPHA",
        "What are alpha_1, alpha_2 and the small constant e?",
        "A.1, Eq. 19-21 (no values given)",
        (
            Option(1.0, "both 1, e = 1e-8", {"mmss.alpha2": 1.0, "mmss.offset_epsilon": 1e-8}),
            Option(0.5, "half the weight on the ratio", {"mmss.alpha2": 1.0, "mmss.offset_epsilon": 1e-8}),
            Option(
                1.0, "half the weight on the difference", {"mmss.alpha2": 0.5, "mmss.offset_epsilon": 1e-8}
            ),
        ),
        "The closed form of Eq. 21 holds for 1.",
        ("mmss.alpha1", "mmss.alpha2", "mmss.offset_epsilon"),
        open_ended="number",
        minimum=0.0,
    ),
    Decision(
        "D-CLAMP",
        "Are pseudo labels kept within the labels' range?",
        "A.1; Figure 4",
        (
            Option("none", "no clamp"),
            Option("symmetric", "the estimate is cut to [-4, 4], as Self-MM does"),
        ),
        "Figure 4 shows pseudo labels outside [0, 4].",
        ("mmss.label_clamp",),
    ),
    Decision(
        "D-UPDATE",
        "When are pseudo labels updated?",
        "4.4, Eq. 11-12",
        (
            Option(
                "epoch",
                "at the end of an epoch, all visited reviews at once, from what was last seen of them",
            ),
            Option(
                "batch", "at a review's first visit in an epoch, against the last epoch's anchors (Self-MM)"
            ),
        ),
        "Eq. 12 indexes labels by epoch and Eq. 17 sums over all training reviews.",
        ("mmss.label_update",),
    ),
    Decision(
        "D-NEG",
        "How many negatives has a positive?",
        "4.5, Eq. 13",
        (Option(1, "pairs, as the equation has it"), Option(7, "the field's released value")),
        "Eq. 13 sums over pairs.",
        ("train.negatives",),
        open_ended="number",
        minimum=1,
    ),
    Decision(
        "D-BATCH",
        "What does a batch size of 32 count?",
        "A.2",
        (Option("pairs", "32 ranking groups"), Option("reviews", "32 review rows, the released arithmetic")),
        "The loss is defined on pairs.",
        ("train.batch_unit",),
    ),
    Decision(
        "D-UNCERT",
        "Which regulariser balances the subtasks?",
        "4.5, Eq. 15",
        (
            Option("kendall", "log sigma as printed (Kendall 2018), log sigma^2 kept within [-10, 10]"),
            Option("log1p", "log(1 + sigma^2), which cannot fall below 0"),
        ),
        "As printed. Either way the sigmas stay while every L_s is exactly 0, where the log term alone would "
        "push them down without bound.",
        ("mmss.uncertainty",),
    ),
    Decision(
        "D-EPOCHS",
        "How long is training, and which epoch is tested?",
        "A.2 (not given)",
        (
            Option(
                20, "at most 20, patience 5 on dev MAP, the best epoch tested once", {"train.patience": 5}
            ),
            Option(30, "at most 30, patience 5", {"train.patience": 5}),
            Option(20, "always 20, the best epoch tested once", {"train.patience": 0}),
        ),
        "The paper says that pseudo labels settle after about 15 epochs.",
        ("train.epochs", "train.patience"),
        open_ended="number",
        minimum=0,
    ),
    Decision(
        "D-DROPOUT",
        "What dropout is used?",
        "A.2 (not given)",
        (
            Option(0.1, "0.1 inside the text encoder, as BERT was trained; none elsewhere"),
            Option(0.0, "none"),
        ),
        "Fine-tuning BERT with its own dropout is the convention; no other dropout is mentioned.",
        ("mmss.encoder_dropout",),
        open_ended="number",
        minimum=0.0,
    ),
)

_PROTOCOL = (
    Decision(
        "D-MARGIN",
        "Is the hinge's margin fixed or the difference of the labels?",
        "4.5, Eq. 13 and A.2 (margin 1); the released code of MCR and MCL uses the label gap",
        (
            Option("hinge", "fixed margin 1, as published"),
            Option("label-gap", "the label difference, as released"),
            Option("point", "no pairs: binary cross-entropy on label > t, the text-only releases"),
        ),
        "The published form; a label-gap margin alone can favour NDCG (defect P10).",
        ("train.loss",),
        "protocol",
    ),
    Decision(
        "D-GAP",
        "How far below the positive's label must a negative's be?",
        "training pairs; every released configuration requires a gap of 2 or more",
        (
            Option(1, "more than 1 below, the released value"),
            Option(0, "any lower label"),
        ),
        "Comparability with the released configurations; the same for every method.",
        ("train.label_gap",),
        "protocol",
        open_ended="number",
        minimum=0,
    ),
    Decision(
        "D-NEGWEIGHT",
        "How are negatives drawn?",
        "training pairs",
        (
            Option(True, "with probability 1 - share of their label in the training set, as released"),
            Option(False, "uniformly"),
        ),
        "As released.",
        ("train.weighted_negatives",),
        "protocol",
    ),
    Decision(
        "D-THRESHOLD",
        "Above which label is a review relevant?",
        "5.1; the released evaluation uses 0 for Lazada and 1 for Amazon and the papers do not say so",
        (
            Option(0, "labels 1 to 4 are relevant"),
            Option(1, "labels 2 to 4: the released value for Amazon"),
        ),
        "One rule for both data sets, with the attainable ceiling printed beside it.",
        ("train.relevance_threshold",),
        "protocol",
        open_ended="number",
        minimum=0,
    ),
    Decision(
        "D-TIES",
        "How are tied scores ranked?",
        "metrics (defect P25: a stable sort lets the file's order through)",
        (
            Option("expected", "the exact mean over all orders of the tied reviews"),
            Option("file-order", "a stable sort, as released"),
        ),
        "A constant scorer must get what a random order gets.",
        scope="protocol",
        how="metrics are stored with `expected`; `bench stats --robust` shows the other",
    ),
    Decision(
        "D-BUDGET",
        "Does every method get the same budget?",
        "the released settings differ in negatives, passes, losses and rates (defects P9, P10)",
        (
            Option("fair", "one budget for all; early stopping and selection on dev MAP"),
            Option("released", "each method's released settings, without selecting on test"),
        ),
        "A comparison of methods, not of budgets.",
        scope="protocol",
        how="--protocol",
    ),
    Decision(
        "D-EMPTY",
        "What becomes of a review whose text is empty after tokenising?",
        "inputs (defect P24: the released loaders drop it, in test too)",
        (Option("unknown-token", "it stays, as a single unknown token"),),
        "The evaluated set must not depend on a method's tokenizer.",
        scope="protocol",
        how="fixed",
    ),
    Decision(
        "D-MINFREQ",
        "Which words enter the vocabulary?",
        "inputs",
        (Option(5, "words seen at least 5 times in a field of the training split; others are deleted"),),
        "As released.",
        scope="protocol",
        how="fixed",
    ),
    Decision(
        "D-VECTORS",
        "Which word vectors do methods without BERT start from?",
        "5.2; fastText for Lazada and GloVe for Amazon in the released code",
        (
            Option("random", "random ones, drawn per word; the tables say so"),
            Option("file", "pre-trained ones from a text file"),
        ),
        "The files are large and not ours to ship.",
        scope="protocol",
        how="--vectors FILE",
    ),
)

_BASELINES = (
    Decision(
        "D-TEXTENC",
        "Do baselines keep static word vectors, where MM-SS has BERT?",
        "5.2; defect P13: part of the gain may be the encoder's",
        (Option("static", "word vectors, as published for every baseline"),),
        "Each baseline as published. `--set mmss.encoder=scratch` puts MM-SS on the baselines' footing: no "
        "pre-trained text model on either side.",
        scope="baselines",
        how="fixed",
    ),
    Decision(
        "D-EGCNN",
        "Does EG-CNN read the product's text?",
        "EG-CNN's paper reads the review only; the released code reads both texts",
        (
            Option("paper", "review only, word and character parts, vector gates"),
            Option("released", "product and review, scalar gates, one convolution"),
        ),
        "Claim C3 (EG-CNN is the worst because it ignores the product) only has a meaning for that form.",
        scope="baselines",
        how="--protocol (fair: paper; released: released)",
    ),
    Decision(
        "D-SSE",
        "Does SSE-Cross, made for one image and one text, see the product?",
        "SSE-Cross; no adaptation was published",
        (
            Option("product-aware", "product and review are fused each, then compared"),
            Option("review-only", "the review's image and text only, as the original"),
        ),
        "The task ranks reviews of a product; the table should not handicap a baseline.",
        ("ssecross.variant",),
        "baselines",
    ),
    Decision(
        "D-DR",
        "Does D&R Net, made for one image and one text, see the product?",
        "D&R Net; no adaptation was published",
        (
            Option("product-aware", "three pairs of texts and images"),
            Option("review-only", "the review's text and image only"),
        ),
        "As D-SSE.",
        ("drnet.variant",),
        "baselines",
    ),
    Decision(
        "D-NOIMAGE",
        "What does a model see of an item without images?",
        "the released code passes 16 zero RoIs that count as valid (defect P16)",
        (
            Option("masked", "nothing (masked), or a learned vector where a method needs one"),
            Option("zeros", "16 zero RoIs that count as valid, as released"),
        ),
        "Zero RoIs tell a model that there is no image through the projection's bias, and change means.",
        scope="baselines",
        how="--protocol (fair: masked; released: zeros)",
    ),
)

_ALL: dict[str, Decision] = {decision.id: decision for decision in (*_MMSS, *_BASELINES, *_PROTOCOL)}


def all_decisions() -> list[Decision]:
    """Every decision: MM-SS in the paper's order, then the baselines, then the protocol."""
    return list(_ALL.values())


def get(decision_id: str) -> Decision:
    """The decision of that id (case is ignored, so is a missing `D-`); UsageError with near misses."""
    wanted = decision_id.strip().upper()
    for candidate in (wanted, f"D-{wanted}"):
        if candidate in _ALL:
            return _ALL[candidate]
    close = difflib.get_close_matches(f"D-{wanted.removeprefix('D-')}", _ALL, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"unknown decision {decision_id!r}.{hint} Known: {' '.join(_ALL)}.")


def alternatives(decision_id: str) -> list[dict[str, Any]]:
    """The settings of every option but the default: only the fields that differ from it.

    Empty for a decision that no configuration field carries.
    """
    decision = get(decision_id)
    default = decision.settings(decision.options[0])
    changed = (decision.settings(option) for option in decision.options[1:])
    return [
        {name: value for name, value in settings.items() if value != default[name]}
        for settings in changed
        if settings != default
    ]


def decided(decision_id: str, name: str | None = None) -> Any:
    """A dataclass field whose default, documentation and allowed values are the decision's.

    `name` is the unqualified field of a decision with several (`decided("D-ATT", "attention_residual")`).
    `metadata` holds `decision` (the id), `field` (qualified name) and `doc`.
    """
    decision = get(decision_id)
    if not decision.fields:
        raise KeyError(f"{decision.id} is carried by no configuration field")
    known = {qualified.partition(".")[2]: qualified for qualified in decision.fields}
    qualified = decision.fields[0] if name is None else known[name]
    default = decision.settings(decision.options[0])[qualified]
    metadata = {"decision": decision.id, "field": qualified, "doc": f"{decision.question} ({decision.id})"}
    return dataclasses.field(default=default, metadata=metadata)


def validate(config: Any) -> None:
    """Check every `decided` field of a dataclass instance; UsageError naming field, value and options."""
    for field in dataclasses.fields(config):
        if "decision" in field.metadata:
            decision = get(field.metadata["decision"])
            decision.check(field.metadata["field"], getattr(config, field.name))


def render_markdown(chosen: Sequence[Decision] | None = None) -> str:
    """Decisions (default: all) as a Markdown document, one section each, grouped by scope."""
    chosen = all_decisions() if chosen is None else chosen
    titles: dict[Scope, str] = {"mmss": "MM-SS", "baselines": "Baselines", "protocol": "Protocol"}
    lines = ["# Open decisions", ""]
    for scope, title in titles.items():
        sections = [_section(decision) for decision in chosen if decision.scope == scope]
        if sections:
            lines += [f"## {title}", "", *(line for section in sections for line in section)]
    return "\n".join(lines).rstrip() + "\n"


def _section(decision: Decision) -> list[str]:
    carried = ", ".join(f"`{name}`" for name in decision.fields) or decision.how
    lines = [
        f"### {decision.id}",
        "",
        decision.question,
        "",
        f"- Where: {decision.where}",
        f"- Set by: {carried}",
    ]
    for index, option in enumerate(decision.options):
        extra = ", ".join(f"{name.partition('.')[2]} {value}" for name, value in option.also.items())
        shown = f"`{option.value}`" + (f" ({extra})" if extra else "")
        lines.append(f"- {'Default' if index == 0 else 'Or'} {shown}: {option.meaning}")
    if decision.open_ended:
        lines.append(f"- Or any other {'number' if decision.open_ended == 'number' else 'name or folder'}")
    return [*lines, f"- Why: {decision.reason}", ""]
