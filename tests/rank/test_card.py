"""The model card says whose features a model has seen."""

from __future__ import annotations

from benchmark.rank.card import _images


def test_features_of_another_origin_are_named() -> None:
    splits = {"train": {"images": {"product": {"with_features": 3}, "review": {"with_features": 1_200}}}}
    own = "Image features in train: 3 products, 1,200 reviews."
    assert _images({"splits": splits}) == _images({"splits": splits, "features": None}) == own
    record = {"extractor": "hf-grid", "model": "dinov2", "weights": "ab" * 32, "options": {"grid": 5}}
    assert _images({"splits": splits, "features": record}) == (
        f"{own} Made by hf-grid dinov2 (weights abababababab, grid=5), not bottom-up attention."
    )
