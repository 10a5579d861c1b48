"""A release whose tables list images that a server on the loopback has."""

from __future__ import annotations

from pathlib import Path

from tests.data.fetch.server import Server
from tests.fixtures_release import read_records, write_release, write_table


def release_with_images(root: Path, server: Server, dataset: str = "amazon") -> Path:
    """Every fourth product and review lists an image of its own; the first product and review of each split also the
    first image of all, one that is damaged and one that is not there."""
    write_release(root, (dataset,), images=False, products=4, reviews=5)
    number = 0
    for split in ("train", "dev", "test"):
        for kind in ("prd", "rvw"):
            records = read_records(root, dataset, "electronics", kind, split)
            for row, record in enumerate(records):
                number += 1
                record["img_url"] = [f"{server.url}/image/{number}"] if row % 4 == 0 else []
            records[0]["img_url"] += [f"{server.url}/{path}" for path in ("image/1", "bomb/9000", "nothing")]
            write_table(root, dataset, "electronics", kind, split, records)
    return root
