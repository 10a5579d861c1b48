"""Where SANCL differs from its release, and how the release names its parameters."""

from __future__ import annotations

from baselines.parts.reference_names import roi_encoder_names
from benchmark.core.model import Departure

DEPARTURES = (
    Departure(
        "A review token is selected as far as it occurs in the product's text: the largest cosine of its word "
        "vector with one of the product's, so 1 for the same word.",
        "The published mask marks sentences that mention the product's name or belong to the first "
        "coreference chain. It needs English parsing and coreference tools, which the released code also "
        "applies to Indonesian.",
    ),
    Departure(
        "Unselected tokens weigh β, learned from the review, as in the released BERT network.",
        "The released convolutional network fixes β = 0.5 and keeps the learned one unused.",
        ("P20",),
    ),
    Departure(
        "Contrast: InfoNCE of texts with images, and of reviews with products, against the other products "
        "of the batch.",
        "Released, both contrasts receive image vectors in all four places; text never enters.",
        ("P20",),
    ),
    Departure(
        "The scorer sees the product's image.",
        "The released convolutional network gives it the product's text twice instead.",
        ("P20",),
    ),
    Departure(
        "Word n-gram convolutions are trained.",
        "Released, they stay at their random initial values.",
        ("P20",),
    ),
    Departure(
        "Review images have an encoder of their own.",
        "The released code sends them through the product's encoder, as MCR's does.",
        ("P15",),
    ),
    Departure(
        "An item without images has no RoI; its image vector is zero and takes no part in a contrast. Means "
        "divide by the number of valid positions.",
        "Released, it is 16 zero RoIs that count as valid, and one mean divides by the padded length.",
        ("P16", "P17"),
    ),
)

NAMES = {
    **roi_encoder_names("prd_img_encoder.", "product_image."),
    "prd_txt_encoder.token_embedding.embedding.": "product_text.embedding.",
    "prd_txt_encoder.seq_encoder.conv_layer.*.0.": "product_text.convs.*.",
    "prd_txt_encoder.seq_encoder.lstm.": "product_gru.",
    "rvw_txt_encoder.token_embedding.embedding.": "review_text.embedding.",
    "rvw_txt_encoder.seq_encoder.conv_layer.*.0.": "review_text.convs.*.",
    "rvw_txt_encoder.seq_encoder.lstm.": "review_gru.",
    "bert_encoder.embeddings.": "bert.embeddings.",
    "bert_encoder.encoder.": "bert.encoder.",
    "prd_txt_encoder.token_embedding.embeddings.": "bert.embeddings.",
    "prd_txt_encoder.token_embedding.encoder.": "bert.encoder.",
    "rvw_txt_encoder.token_embedding.embeddings.": "bert.embeddings.",
    "rvw_txt_encoder.token_embedding.encoder.": "bert.encoder.",
    "txt_prd_aware.": "text_attention.",
    "img_prd_aware.": "image_attention.",
    "txt_rvw_self_attn.proj1.": "self_attention.query.",
    "txt_rvw_self_attn.proj2.": "self_attention.key.",
    "beta_proj.0.": "beta.",
    "txt_linear_cm.": "text_cross_modal.",
    "img_linear_cm.": "image_cross_modal.",
    "txt_linear_rp.": "text_review_product.",
    "img_linear_rp.": "image_review_product.",
    "cross_modal_contrast.prd_pred.": "cross_modal_product.",
    "cross_modal_contrast.rvw_pred.": "cross_modal_review.",
    "rvw_prd_contrast.prd_pred.": "review_product_negative.",
    "rvw_prd_contrast.rvw_pred.": "review_product_positive.",
    "linear.": "scorer.",
}
"""A released parameter's name -> ours; `*` stands for a number."""

UNUSED = (
    "rvw_img_encoder.",
    "coherentor.",
    "txt_pooler.",
    "img_pooler.",
    "img2txt_pooler.",
    "txt2img_pooler.",
    "txt_layernorm.",
    "img_layernorm.",
    "img2txt_layernorm.",
    "txt2img_layernorm.",
    "coherent_layernorm.",
    "bert_encoder.pooler.",
    "prd_txt_encoder.token_embedding.pooler.",
    "rvw_txt_encoder.token_embedding.pooler.",
)
"""Released parameters that nothing reads."""
