"""What the baselines' papers and their released code leave open."""

from __future__ import annotations

from benchmark.core.decisions import Decision, Option, register

DECISIONS = (
    Decision(
        "D-TEXTENC",
        "Do baselines keep static word vectors, where MM-SS has BERT?",
        "5.2; defect P13: part of the gain may be the encoder's",
        (
            Option("words", "word vectors, as published for every baseline"),
            Option(
                "bert",
                "the token states of MM-SS's pre-trained encoder in place of word vectors, fine-tuned at the same "
                "rate; a method that reads vectors of another width maps them linearly",
            ),
        ),
        "Each baseline as published; a table whose rows differ in encoder says so. Two ways to one footing: "
        "`--set text_encoder=bert` gives every selected baseline MM-SS's encoder, `--set mmss.encoder=scratch` takes "
        "it from MM-SS.",
        scope="baselines",
        how="--set text_encoder=bert (and --set encoder=FOLDER), for every selected baseline",
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

register(__name__, DECISIONS)
