"""What MM-SS's paper leaves open or prints wrong, in its order: each question, its answers, our default and why."""

from __future__ import annotations

from benchmark.core.decisions import Decision, Option, register

DECISIONS = (
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
        "Eq. 13 sums over pairs. By dev MAP (as D-GAP, with gap 0) 7 gains nothing that is clear: 81.7 for 81.1 on "
        "`mini`, 64.4 for 64.9 on real reviews, at four times the rows of an epoch.",
        ("train.negatives",),
        open_ended="number",
        minimum=1,
    ),
    Decision(
        "D-TARGETSUM",
        "Is the ranking loss of a step the sum over its groups, or their mean?",
        "4.5, Eq. 13 (a sum), beside Eq. 14 (a mean over reviews) in Eq. 16",
        (
            Option("mean", "the mean over the step's groups"),
            Option("sum", "the sum over the step's groups, as printed"),
        ),
        "Eq. 16 adds the two losses: of 32 pairs, a sum weighs 32 times as much beside the subtasks as their "
        "mean does, so that the subtasks' share would follow the batch size, and a smaller last batch would move "
        "the weights less. Adam undoes a common factor but not that ratio. The field's released losses are means.",
        ("train.target_reduction",),
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

register(__name__, DECISIONS)
