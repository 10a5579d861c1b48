"""Tiny vision models with random weights, saved as folders that `from_pretrained` reads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers

NORMAL = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3], "resample": 2}


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """All weights and statistics drawn anew, so that no layer is the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point():
                draw = torch.randn(value.shape, generator=generator)
                value.copy_(draw.abs() + 0.5 if name.endswith("var") else 0.3 * draw)
    return model.eval()


def save(model: torch.nn.Module, folder: Path, size: object) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size, **NORMAL}))
    return folder


def resnet_config(**more: object) -> transformers.ResNetConfig:
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], layer_type="bottleneck", **more
    )


def detr(folder: Path) -> Path:
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=resnet_config(out_features=["stage4"]),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=12,
        num_labels=5,
    )
    size = {"shortest_edge": 96, "longest_edge": 160}
    return save(randomised(transformers.DetrForObjectDetection(config)), folder, size)


def dinov2(folder: Path) -> Path:
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    return save(randomised(transformers.Dinov2Model(config)), folder, {"height": 56, "width": 56})


def clip(folder: Path) -> Path:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "hidden_size": 20, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 30}, vision_config=vision, projection_dim=12
    )
    return save(randomised(transformers.CLIPModel(config)), folder, {"shortest_edge": 32})


def siglip(folder: Path) -> Path:
    config = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=48,
        patch_size=8,
    )
    return save(randomised(transformers.SiglipVisionModel(config)), folder, {"height": 48, "width": 48})


def resnet(folder: Path) -> Path:
    return save(randomised(transformers.ResNetModel(resnet_config())), folder, {"shortest_edge": 224})


def yolos(folder: Path) -> Path:
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        num_detection_tokens=5,
    )
    return save(transformers.YolosForObjectDetection(config), folder, {"shortest_edge": 32})
