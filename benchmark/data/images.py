"""What a reader must hear about images before a run: which are missing, which cannot be read. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping

Coverage = Mapping[str, int | None]
"""See `benchmark.data.roi_files.coverage`."""

NO_FEATURES = (
    "WARNING: NO IMAGE FEATURES: no product or review has a RoI; methods that look at images see none"
)


def image_warnings(splits: Mapping[str, Mapping[str, Coverage]]) -> list[str]:
    """In words, per split, what keeps images of a category from being seen; `splits`: split -> side -> coverage.
    Empty if every item that lists an image has features, and no file is unreadable."""
    every = [coverage for sides in splits.values() for coverage in sides.values()]
    if not every:
        return []
    if not any(coverage["with_features"] for coverage in every):
        files = sum((coverage["unreadable"] or 0) + (coverage["zero_rois"] or 0) for coverage in every)
        return [
            f"{NO_FEATURES} ({f'{files:,} files are there, none of use' if files else 'no feature file'})"
        ]
    found = [_of_split(split, sides) for split, sides in splits.items()]
    parts = [part for part in found if part]
    return [f"images unreadable or missing: {'; '.join(parts)}"] if parts else []


def _of_split(split: str, sides: Mapping[str, Coverage]) -> str:
    words = []
    for side, coverage in sides.items():
        unreadable, missed = coverage["unreadable"] or 0, coverage["want_images_but_have_no_roi"] or 0
        if unreadable:
            words.append(f"{unreadable:,} unreadable feature files of {side}s")
        if missed:
            words.append(f"{missed:,} of {coverage['want_images']:,} {side}s that list images have no RoI")
    return f"{split}: {', '.join(words)}" if words else ""
