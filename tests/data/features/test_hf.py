"""The extractors on transformers, with tiny models of random weights, against the models' own code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image

from benchmark.core.errors import DataError, UsageError
from benchmark.data.features.extractor import Extractor
from benchmark.data.features.registry import choose
from tests.data.features import models
from tests.data.features.test_roi_align import naive

MAKE = {"dinov2": models.dinov2, "clip": models.clip, "siglip": models.siglip, "resnet": models.resnet}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: make(root / name) for name, make in (MAKE | {"detr": models.detr}).items()}


def photo(seed: int, width: int, height: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


PHOTOS = [photo(0, 120, 90), photo(1, 64, 200), photo(2, 120, 90), photo(3, 1, 1), photo(4, 400, 10)]


def built(given: str, *options: str) -> Extractor:
    return choose(given, "", options).build("cpu")


def normal(image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """`[1, 3, H, W]`, by another route than the extractors'."""
    pixel_HWC = torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR))).double() / 255
    mean, std = (torch.tensor(models.NORMAL[key]).double() for key in ("image_mean", "image_std"))
    return ((pixel_HWC - mean) / std).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    ("name", "side", "width", "leading"),
    [("dinov2", 56, 24, 1), ("clip", 32, 20, 1), ("siglip", 48, 16, 0), ("resnet", 224, 24, None)],
)
def test_a_grid_is_the_mean_of_the_models_own_states(
    folders: dict[str, Path], name: str, side: int, width: int, leading: int | None
) -> None:
    extractor = built(f"hf-grid:{folders[name]}", "grid=2")
    model = transformers.AutoModel.from_pretrained(folders[name]).eval()
    tower = getattr(model, "vision_model", model)
    for image, roi_VF in zip(PHOTOS, extractor.rois(PHOTOS), strict=True):
        assert roi_VF.shape == (4, width)
        with torch.no_grad():
            states = tower(normal(image, (side, side))).last_hidden_state[0]
        if leading is not None:
            patches = states[leading:]
            grid = int(len(patches) ** 0.5)
            states = patches.reshape(grid, grid, width).permute(2, 0, 1)
        height = states.shape[1]
        half = (height + 1) // 2  # the middle row of an odd map belongs to both halves
        halves = (slice(0, half), slice(height - half, height))
        expected = [states[:, rows, columns].mean((1, 2)) for rows in halves for columns in halves]
        np.testing.assert_allclose(roi_VF, torch.stack(expected).numpy(), atol=2e-4, rtol=1e-3)


def test_another_side_than_the_trained_one(folders: dict[str, Path]) -> None:
    (roi_VF,) = built(f"hf-grid:{folders['dinov2']}", "side=84").rois(PHOTOS[:1])
    assert roi_VF.shape == (25, 24)
    (own_VF,) = built(f"hf-grid:{folders['dinov2']}").rois(PHOTOS[:1])
    assert not np.allclose(roi_VF, own_VF)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes and scores are drawn: those that a model of random weights finds are all alike."""
    own = transformers.DetrForObjectDetection.forward

    def forward(self: object, pixel_values: torch.Tensor, **more: object) -> object:
        answer = own(self, pixel_values, **more)
        generator = torch.Generator().manual_seed(pixel_values.shape[-1])
        # the same for every image of a batch, however many there are
        logit_QK = 3 * torch.randn(answer.logits.shape[1:], generator=generator)
        box_Q4 = torch.rand(answer.pred_boxes.shape[1:], generator=generator)
        answer.logits = logit_QK.expand_as(answer.logits)
        answer.pred_boxes = box_Q4.expand_as(answer.pred_boxes)
        return answer

    monkeypatch.setattr(transformers.DetrForObjectDetection, "forward", forward)


def test_detr_gives_its_best_boxes_the_backbones_features(folders: dict[str, Path], drawn: None) -> None:
    extractor = built(f"hf-detr:{folders['detr']}", "boxes=7")
    model = transformers.DetrForObjectDetection.from_pretrained(folders["detr"]).eval()
    processor = transformers.DetrImageProcessorPil.from_pretrained(folders["detr"])
    backbone = model.model.backbone.model
    for image, roi_VF in zip(PHOTOS[:3], extractor.rois(PHOTOS[:3]), strict=True):
        assert roi_VF.shape == (7, 24)
        inputs = processor(images=image, return_tensors="pt")
        height, width = inputs["pixel_values"].shape[-2:]
        with torch.no_grad():
            answer = model(**inputs)
            found = processor.post_process_object_detection(
                answer, threshold=0.0, target_sizes=[(height, width)]
            )
            map_CHW = backbone.embedder(inputs["pixel_values"])
            for stage in backbone.encoder.stages[:3]:
                map_CHW = stage(map_CHW)
            order = found[0]["scores"].argsort(descending=True)[:7]
            box_V4 = found[0]["boxes"][order]
            box_V4 = torch.stack(
                [box_V4[:, i].clamp(0, width if i % 2 == 0 else height) for i in range(4)], dim=1
            )
            cut = naive(map_CHW[0].double().numpy(), box_V4.double().numpy() / 16, 14, 2)
            expected_VF = backbone.encoder.stages[3](torch.from_numpy(cut).float()).mean((2, 3))
        np.testing.assert_allclose(roi_VF, expected_VF.numpy(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["detr", *MAKE])
def test_an_image_by_itself_has_the_same_features(folders: dict[str, Path], name: str) -> None:
    kind = "hf-detr" if name == "detr" else "hf-grid"
    extractor = built(f"{kind}:{folders[name]}")
    together = extractor.rois(PHOTOS)
    assert [len(one) for one in together] == [12 if name == "detr" else 25] * len(PHOTOS)
    for image, roi_VF in zip(PHOTOS, together, strict=True):
        (alone_VF,) = extractor.rois([image])
        np.testing.assert_allclose(roi_VF, alone_VF, atol=1e-3, rtol=1e-3)
        assert np.isfinite(alone_VF).all()


def test_the_identity_is_the_weights_not_the_place(folders: dict[str, Path], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "resnet"
    shutil.copytree(folders["resnet"], moved)
    first, second = (
        choice.record(choice.build("cpu"))
        for choice in (choose(f"hf-grid:{folder}") for folder in (folders["resnet"], moved))
    )
    assert first == second
    assert first["model"] == "resnet"
    assert str(tmp_path) not in json.dumps(first)
    another = tmp_path / "another" / "resnet"
    models.save(
        models.randomised(transformers.ResNetModel(models.resnet_config()), 1),
        another,
        {"shortest_edge": 224},
    )
    choice = choose(f"hf-grid:{another}")
    other = choice.record(choice.build("cpu"))
    assert other["weights"] != first["weights"]
    assert choose(f"hf-grid:{another}", "", ["grid=3"]).record(choice.build("cpu")) != other


def test_what_cannot_be_used_says_why(folders: dict[str, Path], tmp_path: Path) -> None:
    yolos = models.yolos(tmp_path / "yolos")
    with pytest.raises(UsageError, match="no ResNet"):
        built(f"hf-detr:{yolos}")
    with pytest.raises(UsageError, match="32 RoIs"):
        built(f"hf-grid:{folders['clip']}", "grid=6")
    with pytest.raises(UsageError, match="boxes is 1 to 32"):
        built(f"hf-detr:{folders['detr']}", "boxes=33")
    with pytest.raises(UsageError, match="which model"):
        built("hf-grid")
    with pytest.raises(UsageError, match=r"no config\.json"):
        built(f"hf-grid:{tmp_path}")
    bare = tmp_path / "bare"
    shutil.copytree(folders["clip"], bare)
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"preprocessor_config\.json"):
        built(f"hf-grid:{bare}")
    damaged = tmp_path / "damaged"
    shutil.copytree(folders["clip"], damaged)
    (damaged / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        built(f"hf-grid:{damaged}")
    with pytest.raises(UsageError, match="could not be fetched"):
        built("hf-grid:nobody/has-this-model")


def test_softmax_and_sigmoid_models_are_told_apart() -> None:
    from benchmark.data.features.hf_detr import _scores

    logit_BQK = torch.tensor([[[2.0, 0.0, 5.0], [1.0, 3.0, 0.0]]])
    both = F.softmax(logit_BQK, -1)
    torch.testing.assert_close(_scores(logit_BQK, True), both[..., :2].max(-1).values)
    torch.testing.assert_close(_scores(logit_BQK, False), torch.sigmoid(torch.tensor([[5.0, 3.0]])))


def test_a_hub_name_is_asked_for_with_its_revision(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hub is asked: what would be is recorded, and answered by a folder as the hub's cache lays it out."""
    import huggingface_hub

    snapshot = tmp_path / "models--some--clip" / "snapshots" / "0123abcd"
    shutil.copytree(folders["clip"], snapshot)
    asked: list[tuple[str, object]] = []

    def download(
        name: str, *, revision: str | None = None, local_files_only: bool = False, **_: object
    ) -> str:
        asked.append((name, revision))
        if local_files_only:
            raise FileNotFoundError
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    choice = choose("hf-grid:some/clip", "v2")
    record = choice.record(choice.build("cpu"))
    assert asked == [("some/clip", "v2")] * 2
    assert (record["model"], record["revision"]) == ("some/clip", "0123abcd")
    local = choose(f"hf-grid:{folders['clip']}")
    assert record["weights"] == local.record(local.build("cpu"))["weights"]
    with pytest.raises(DataError, match="CLIPConfig"):
        choose("hf-detr").build("cpu")  # no detector
    assert asked[-1] == ("facebook/detr-resnet-50", "no_timm")
