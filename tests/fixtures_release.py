"""Writes tiny releases in the published layout, for tests that need files on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

SPLITS = ("train", "dev", "test")
WORDS = {
    "amazon": ["the", "case", "fits", "my", "phone", "very", "well", "but", "its", "battery", "died", "soon"],
    "lazada": [
        "barang",
        "bagus",
        "sekali",
        "pengiriman",
        "cepat",
        "harga",
        "murah",
        "oke",
        "sesuai",
        "gambar",
    ],
}


def write_release(
    root: Path,
    datasets: Sequence[str] = ("amazon",),
    categories: Sequence[str] = ("electronics",),
    *,
    products: int = 4,
    reviews: int = 5,
    roi_width: int = 6,
    images: bool = True,
    seed: int = 0,
) -> Path:
    """A release of `products` products with `reviews` reviews each in every split (three times as many
    products in train). Even products and the first three reviews of each have images. Returns `root`."""
    rng = np.random.default_rng(seed)
    for dataset in datasets:
        for category in categories:
            for split in SPLITS:
                n = products * (3 if split == "train" else 1)
                _write_split(root, dataset, category, split, n, reviews, roi_width if images else 0, rng)
    return root


def _write_split(
    root: Path,
    dataset: str,
    category: str,
    split: str,
    products: int,
    reviews: int,
    roi_width: int,
    rng: np.random.Generator,
) -> None:
    prd: list[dict[str, Any]] = []
    rvw: list[dict[str, Any]] = []
    rel: list[dict[str, Any]] = []
    for p in range(products):
        product_id = f"0{split[:2]}{p}"
        prd.append(
            {
                "product_id": product_id,
                "name": _words(rng, dataset, 4),
                "description": _words(rng, dataset, 8),
                "img_url": ["http://x/1.jpg"] if p % 2 == 0 else [],
            }
        )
        if roi_width and p % 2 == 0:
            write_features(root, dataset, category, split, product_id, _images(rng, roi_width))
        for r in range(reviews):
            review_id = f"{product_id}-{r}"
            text = _words(rng, dataset, int(rng.integers(3, 25)))
            rvw.append({"review_id": review_id, "content": text, "time": f"0{1 + r % 9} {1 + p % 28}, 2017"})
            rvw[-1]["img_url"] = ["http://x/2.jpg"] if r < 4 else []
            votes = int(2 ** rng.integers(0, 5))
            rel.append(
                {"product_id": product_id, "review_id": review_id, "upvotes": (p + r) % 5, "votes": votes}
            )
            if roi_width and r < 3:
                write_features(root, dataset, category, split, review_id, _images(rng, roi_width))
    for kind, records in (("prd", prd), ("rvw", rvw), ("rel", rel)):
        write_table(root, dataset, category, kind, split, records)


def _words(rng: np.random.Generator, dataset: str, n: int) -> str:
    return " ".join(rng.choice(WORDS.get(dataset, WORDS["amazon"]), n))


def _images(rng: np.random.Generator, roi_width: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    return [rng.normal(size=(int(rng.integers(1, 5)), roi_width)).astype(np.float32) for _ in range(2)]


def table_path(root: Path, dataset: str, category: str, kind: str, split: str) -> Path:
    return root / dataset / category / f"{category}.{kind}.{split}"


def write_table(
    root: Path, dataset: str, category: str, kind: str, split: str, records: Sequence[Mapping[str, Any]]
) -> None:
    """A table in pandas' `columns` orientation, as the release has it."""
    path = table_path(root, dataset, category, kind, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: {str(i): record.get(name) for i, record in enumerate(records)} for name in names}
    path.write_text(json.dumps(columns), encoding="utf-8")


def read_records(root: Path, dataset: str, category: str, kind: str, split: str) -> list[dict[str, Any]]:
    """A table written by `write_table`, one dict per row, to be changed and written back."""
    path = table_path(root, dataset, category, kind, split)
    columns = json.loads(path.read_text(encoding="utf-8"))
    names = list(columns)
    return [
        dict(zip(names, row, strict=True)) for row in zip(*(columns[n].values() for n in names), strict=True)
    ]


def feature_path(root: Path, dataset: str, category: str, split: str, item_id: str) -> Path:
    return root / dataset / category / "features" / split / item_id / f"{item_id}.pth"


def write_features(
    root: Path, dataset: str, category: str, split: str, item_id: str, images: Sequence[Any]
) -> Path:
    """A feature file: a list with one dict per image, key `x`."""
    path = feature_path(root, dataset, category, split, item_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save([{"x": torch.as_tensor(image)} for image in images], path)
    return path
