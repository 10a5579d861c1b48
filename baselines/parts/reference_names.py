"""Parameter names that the released MCR, MCL and SANCL have in common -> ours, as data.

`*` stands for a number; a name is translated by the entry that it starts with.
"""

from __future__ import annotations


def roi_encoder_names(reference: str, ours: str) -> dict[str, str]:
    """`benchmark.core.encoders.RoiEncoder`."""
    names = {f"{reference}map.": f"{ours}map.", f"{reference}layer_norm.": f"{ours}norm."}
    for part in ("query", "key", "value", "output"):
        names[f"{reference}layers.*.self_attn.{part}_proj."] = f"{ours}layers.*.{part}."
    for part in ("fc1", "fc2"):
        names[f"{reference}layers.*.{part}."] = f"{ours}layers.*.{part}."
    names[f"{reference}layers.*.layer_norms.*."] = f"{ours}layers.*.norms.*."
    return names


def context_names(ours: str) -> dict[str, str]:
    """`benchmark.core.matching.ContextFeatures`."""
    names = {
        "img2txt_match.": f"{ours}image_to_text.",
        "txt2img_match.": f"{ours}text_to_image.",
        "txt_prd_aware.": f"{ours}text_attention.",
        "img_prd_aware.": f"{ours}image_attention.",
        "txt_linear.": f"{ours}text_common.",
        "img_linear.": f"{ours}image_common.",
    }
    for side in ("prd", "rvw"):
        graph = f"coherentor.{side}_coherent.item_fusion.attentions.*.attentions.project."
        layers = f"{ours}coherence.{'product' if side == 'prd' else 'review'}_layers.*."
        names |= {f"{graph}0.": f"{layers}first.", f"{graph}2.": f"{layers}second."}
    for layer, part in (("0", "first"), ("2", "second")):
        names[f"coherentor.rvw_coherent.item_fusion.aggregate.project.{layer}."] = f"{ours}coherence.{part}."
    return names


def pooling_names(reference: str, ours: str) -> dict[str, str]:
    """`baselines.parts.pooling.KernelMaxPooling` of `txt` or `img`."""
    return {
        f"{reference}_pooler.conv_layers.*.1.": f"{ours}convs.*.",
        f"{reference}_layernorm.": f"{ours}norm.",
    }


def attention_names(reference: str, ours: str) -> dict[str, str]:
    """`benchmark.core.transformer.PostNormAttention`."""
    names = {f"{reference}att.{part}.": f"{ours}{part}." for part in ("query", "key", "value")}
    return {
        **names,
        f"{reference}output.dense.": f"{ours}output.",
        f"{reference}output.LayerNorm.": f"{ours}norm.",
    }


def feed_forward_names(reference: str, ours: str) -> dict[str, str]:
    """`benchmark.core.transformer.PostNormFeedForward`."""
    return {
        f"{reference}inter.dense.": f"{ours}inner.",
        f"{reference}output.dense.": f"{ours}output.",
        f"{reference}output.LayerNorm.": f"{ours}norm.",
    }


MCL_NAMES = {
    "lstm_prd_txt_encoder.token_embedding.embedding.": "product_text.embedding.",
    "lstm_prd_txt_encoder.lstm_text_encoder.0.": "product_text.lstm.",
    "lstm_rvw_txt_encoder.token_embedding.embedding.": "review_text.embedding.",
    "lstm_rvw_txt_encoder.lstm_text_encoder.0.": "review_text.lstm.",
    **roi_encoder_names("prd_img_encoder.", "product_image."),
    **roi_encoder_names("rvw_img_encoder.", "review_image."),
    **attention_names("cross_modal_self_attn.", "joint.attention."),
    **feed_forward_names("cross_modal_", "joint.feed_forward."),
    **attention_names("lang_cross_attn.", "text_interaction.cross."),
    **attention_names("lang_self_attn.", "text_interaction.attention."),
    **feed_forward_names("lang_", "text_interaction.feed_forward."),
    **attention_names("visual_cross_attn.", "image_interaction.cross."),
    **attention_names("visual_self_attn.", "image_interaction.attention."),
    **feed_forward_names("visual_", "image_interaction.feed_forward."),
    **context_names("context."),
    **pooling_names("txt", "text_pooling."),
    **pooling_names("img", "image_pooling."),
    "linear.": "scorer.",
}

MCL_UNUSED = (
    "prd_txt_encoder.",
    "rvw_txt_encoder.",
    "img2txt_pooler.",
    "txt2img_pooler.",
    "img2txt_layernorm.",
    "txt2img_layernorm.",
    "coherent_layernorm.",
)
"""Parameters of the released MCL that nothing reads."""
