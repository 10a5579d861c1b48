"""Our implementations against recorded outputs of the released ones.

A golden is a file of weights, inputs and outputs (`.npz`), or of metrics, pairs or losses (`.json`); what it
is follows from its content, so that new files of the same format can be dropped in. Every file of the folder
is reported: one that we cannot check is a failure, not a silence.
"""

from __future__ import annotations

import functools
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark import models
from benchmark.checks.cases import TOLERANCE, CaseResult, Comparison
from benchmark.checks.reference import GOLDEN_METHODS, build, read_arrays, read_reference
from benchmark.checks.selfmm import FUSION, SelfMMLabels
from benchmark.core.errors import BenchError, DataError
from benchmark.core.files import read_json
from benchmark.core.metrics import per_product_metrics
from benchmark.core.model import RankingModel
from benchmark.core.types import Batch, Items
from benchmark.engine.losses import hinge_loss, label_gap_hinge_loss, point_loss
from benchmark.engine.pairs import PairPlan, pair_plan, training_groups

DTYPE = {"float64": torch.float64, "float32": torch.float32}
METRIC_NAMES = {"MAP": "map", "MRR": "mrr", "NDCG@3": "ndcg@3", "NDCG@5": "ndcg@5"}

Arrays = Mapping[str, NDArray[Any]]


def run_selfcheck(folder: Path | None, device: torch.device, precision: str) -> list[CaseResult]:
    """Check every golden in `folder` (None: those shipped), in `float32` or `float64`.

    Raises DataError for a folder that does not exist or holds no golden. A golden that cannot be read or
    checked is a failed case with the reason.
    """
    root = folder or Path(str(files("benchmark") / "checks" / "recorded"))
    paths = (
        sorted(path for path in root.glob("*") if path.suffix in (".npz", ".json")) if root.is_dir() else []
    )
    if not paths:
        raise DataError(f"{root}: no goldens (.npz or .json files) here.")
    with _full_precision():
        return [case for path in paths for case in _check_file(path, device, precision)]


def render(cases: list[CaseResult]) -> str:
    """One line per case, and how many agree."""
    width = max(len(case.case) for case in cases)
    lines = [f"{'case':<{width}}  precision  max abs   max rel   tolerance  verdict"]
    lines += [
        f"{case.case:<{width}}  {case.precision:<9}  {_number(case.absolute)}  {_number(case.relative)}  "
        f"{_number(case.tolerance)}   {'ok' if case.ok else 'FAIL'}{'  ' + case.note if case.note else ''}"
        for case in cases
    ]
    agree = sum(case.ok for case in cases)
    rule = "|ours - recorded| <= tolerance x (1 + |recorded|)"
    return "\n".join([*lines, f"{agree} of {len(cases)} cases agree: {rule}"])


def _number(value: float) -> str:
    return "-".ljust(8) if math.isnan(value) else f"{value:<8.1e}"


def _check_file(path: Path, device: torch.device, precision: str) -> Iterator[CaseResult]:
    """The cases of one file, by what the file holds."""
    try:
        if path.suffix == ".json":
            yield from _check_json(path, precision, device)
            return
        arrays = read_arrays(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        yield _failure(path.stem, precision, f"cannot be read: {error}")
        return
    if "config" not in arrays:
        if not any(name.endswith("/y_pred") for name in arrays):
            yield _failure(path.stem, precision, "neither a `config` nor losses: not a golden that we know")
        elif not path.with_suffix(".json").is_file():
            yield _failure(path.stem, precision, f"{path.stem}.json, which holds the group sizes, is missing")
        return  # losses are checked from their .json
    config = json.loads(str(arrays["config"]))
    method = str(config.get("method", ""))
    if method == "selfmm_labels":
        yield _case(path.stem, precision, lambda case: _selfmm(case, arrays, config), TOLERANCE["float32"])
        return
    name = GOLDEN_METHODS.get(method, method)
    if name not in models.METHODS:
        yield _failure(path.stem, precision, f"unknown method {method!r}")
        return
    yield from _check_network(path, name, arrays, device, precision)


def _check_json(path: Path, precision: str, device: torch.device) -> Iterator[CaseResult]:
    content = read_json(path)
    if isinstance(content, dict) and "products" in content:
        yield _case(path.stem, precision, lambda case: _metrics(case, content), TOLERANCE["float64"])
    elif isinstance(content, dict) and "relation" in content:
        for name, recorded in content["cases"].items():

            def check(case: Comparison, recorded: Mapping[str, Any] = recorded) -> None:
                _pairs(case, content["relation"], content["num_neg"], recorded)

            yield _case(f"{path.stem}/{name}", precision, check, TOLERANCE["float64"])
    elif isinstance(content, dict) and isinstance(content.get("cases"), list):
        arrays = read_arrays(path.with_suffix(".npz"))
        for recorded in content["cases"]:

            def check_losses(case: Comparison, recorded: Mapping[str, Any] = recorded) -> None:
                _losses(case, arrays, recorded, precision, device)

            yield _case(f"{path.stem}/{recorded['key']}", precision, check_losses)
    else:
        yield _failure(path.stem, precision, "neither metrics, pairs nor losses: not a golden that we know")


def _case(
    name: str, precision: str, check: Callable[[Comparison], None], tolerance: float | None = None
) -> CaseResult:
    """Run one check; whatever goes wrong in it is that case's failure and the others go on."""
    case = Comparison(TOLERANCE[precision] if tolerance is None else tolerance)
    try:
        check(case)
    except BenchError as error:
        case.fail(str(error).replace("\n", "; "))
    except Exception as error:  # a golden from elsewhere may be malformed in any way
        case.fail(f"{type(error).__name__}: {error}".replace("\n", "; "))
    if case.ok and not case.compared:
        case.fail("nothing to compare")
    absolute, relative = (case.absolute, case.relative) if case.compared else (math.nan, math.nan)
    return CaseResult(name, precision, absolute, relative, case.tolerance, case.ok, "; ".join(case.notes))


def _failure(name: str, precision: str, note: str) -> CaseResult:
    return CaseResult(name, precision, math.nan, math.nan, TOLERANCE[precision], False, note)


@contextmanager
def _full_precision() -> Iterator[None]:
    """float32 means float32 on a GPU too, not TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


# Networks


def _check_network(
    path: Path, method: str, arrays: Arrays, device: torch.device, precision: str
) -> Iterator[CaseResult]:
    """One case per batch: `input/...` at the top level, and under `b1/`, `b2/`, ..."""
    built: list[RankingModel] = []

    def check(case: Comparison, prefix: str) -> None:
        if not built:
            built.append(build(models.load(method), read_reference(path)).to(device, DTYPE[precision]))
        _network(case, built[0], arrays, prefix, device, precision)

    marker = "input/text_left"
    prefixes = sorted(name.removesuffix(marker) for name in arrays if name.endswith(marker))
    if not prefixes:
        yield _failure(path.stem, precision, f"holds no {marker}")
    for prefix in prefixes:
        name = path.stem + ("/" + prefix.rstrip("/") if prefix else "")
        yield _case(name, precision, functools.partial(check, prefix=prefix))


def _network(
    case: Comparison, model: RankingModel, arrays: Arrays, prefix: str, device: torch.device, precision: str
) -> None:
    """Compare everything that the golden records of one batch."""
    marker = "_f64" if precision == "float64" else ""
    inputs = {
        name.removeprefix(f"{prefix}input/"): _tensor(value, device, precision)
        for name, value in arrays.items()
        if name.startswith(f"{prefix}input/")
    }
    recorded = {
        name.removeprefix(f"{prefix}output/").removesuffix("_f64"): value
        for name, value in arrays.items()
        if name.startswith(f"{prefix}output/") and name.endswith("_f64") == bool(marker)
    }
    batch = _batch(inputs)
    outputs = model.reference_outputs(batch, inputs)
    if "score" not in recorded:
        case.fail(f"holds no {prefix}output/score{marker}")
    for name, value in recorded.items():
        ours = outputs.get(name)
        gradient = re.fullmatch(r"(.+)_grad_image_(left|right)", name)
        if ours is None and gradient:
            ours = _roi_gradient(
                outputs, gradient[1], batch.products if gradient[2] == "left" else batch.reviews
            )
        if ours is not None:
            found = ours.detach().cpu().numpy()
            case.close(name, found.reshape(value.shape) if found.size == value.size else found, value)
        elif name == "scorer_input":
            case.notes.append("scorer_input not exposed")
        else:
            case.fail(f"{name} is recorded, but the model does not give it")


def _tensor(value: NDArray[Any], device: torch.device, precision: str) -> Tensor:
    tensor = torch.from_numpy(value).to(device)
    return tensor.to(DTYPE[precision]) if tensor.is_floating_point() else tensor


def _batch(inputs: Mapping[str, Tensor]) -> Batch:
    """Row i is product i with review i, padded exactly as recorded."""
    row_B = torch.arange(len(inputs["text_left"]), device=inputs["text_left"].device)
    label_B = (
        inputs["labels"].reshape(-1) if "labels" in inputs else torch.zeros(len(row_B), device=row_B.device)
    )

    def items(side: str) -> Items:
        roi = inputs.get(f"image_{side}")
        return Items(
            inputs[f"text_{side}"],
            inputs[f"text_{side}_length"],
            None if roi is None else roi.clone().requires_grad_(),
            inputs.get(f"image_{side}_length"),
            row_B,
        )

    return Batch(items("left"), items("right"), row_B, row_B, label_B)


def _roi_gradient(outputs: Mapping[str, Tensor], stem: str, items: Items) -> Tensor | None:
    """Gradient of `stem` (or its scaled form) by the RoIs, summed over an item's RoIs, `[B, F]`."""
    value = outputs.get(stem, outputs.get(f"{stem}_scaled"))
    if value is None or items.roi_NVF is None:
        return None
    (gradient,) = torch.autograd.grad(value, items.roi_NVF, retain_graph=True)
    return gradient.sum(1)


# Losses, metrics, pairs, Self-MM


def _losses(
    case: Comparison, arrays: Arrays, recorded: Mapping[str, Any], precision: str, device: torch.device
) -> None:
    """Every loss of one set of rows, its gradient, and the values repeated in the .json."""
    key, group_size = recorded["key"], 1 + recorded["num_neg"]
    marker = "_f64" if precision == "float64" else ""
    label_B = _tensor(arrays[f"{key}/y_true"], device, precision).reshape(-1)
    names = {name.split("/")[1] for name in arrays if name.startswith(f"{key}/") and name.count("/") == 2}
    for name in sorted(names):
        score_B = _tensor(arrays[f"{key}/y_pred"], device, precision).reshape(-1).requires_grad_()
        loss = _named_loss(name, score_B, label_B, group_size)
        (gradient,) = torch.autograd.grad(loss, score_B)
        case.close(f"{name} loss", loss.item(), arrays[f"{key}/{name}/loss{marker}"])
        expected = arrays[f"{key}/{name}/grad{marker}"].reshape(-1)
        case.close(f"{name} gradient", gradient.cpu().numpy(), expected)
        case.close(f"{name} loss in the .json", loss.item(), recorded["loss"][name + marker])


def _named_loss(name: str, score_B: Tensor, label_B: Tensor, group_size: int) -> Tensor:
    """`adaptive`, `fixed_margin<m>` or `point_ce_t<t>`."""
    if name == "adaptive":
        return label_gap_hinge_loss(score_B, label_B, group_size)
    if name.startswith("fixed_margin"):
        return hinge_loss(score_B, label_B, group_size, float(name.removeprefix("fixed_margin")))
    if name.startswith("point_ce_t"):
        return point_loss(score_B, label_B, int(name.removeprefix("point_ce_t")))
    raise ValueError(f"unknown loss {name!r}")


def _metrics(case: Comparison, content: Mapping[str, Any]) -> None:
    """Per product at each recorded threshold, and their means; ties in file order."""
    products = content["products"]
    label_R = np.concatenate([np.asarray(product["labels"], dtype=np.float64) for product in products])
    score_R = np.concatenate([np.asarray(product["scores"], dtype=np.float64) for product in products])
    product_R = np.repeat(np.arange(len(products)), [len(product["labels"]) for product in products])
    for key in products[0]["values"]:
        threshold = int(key.removeprefix("threshold"))
        ours = per_product_metrics(
            label_R, score_R, product_R, len(products), threshold=threshold, ties="file-order"
        )
        relevant = np.array([max(product["labels"]) > threshold for product in products])
        for theirs, name in METRIC_NAMES.items():
            case.close(
                f"{theirs} at {key}", ours[name], [product["values"][key][theirs] for product in products]
            )
        for aggregate, values in content.get("aggregate", {}).items():
            if re.match(rf"{key}(?!\d)", aggregate):
                chosen = relevant if "with_relevant_only" in aggregate else np.ones_like(relevant)
                for theirs, value in values.items():
                    case.close(
                        f"mean {theirs}, {aggregate}", ours[METRIC_NAMES[theirs]][chosen].mean(), value
                    )


def _pairs(case: Comparison, relation: list[list[Any]], negatives: int, recorded: Mapping[str, Any]) -> None:
    """Positives, how often each is emitted, eligible negatives with weight and probability, and all counts."""
    products, reviews, labels = zip(*relation, strict=True)
    product_R = np.unique(np.array(products), return_inverse=True)[1]
    gap, weighted = recorded["interval"], recorded["weighted"]
    plan = pair_plan(product_R, labels, gap=gap, weighted=weighted)
    groups_GK = training_groups(
        product_R, labels, gap=gap, negatives=negatives, seed=0, epoch=1, weighted=weighted,
        duplicates=recorded["num_dup"],
    )  # fmt: skip
    emitted = Counter(reviews[row] for row in groups_GK[:, 0])
    case.equal(
        "emitted", emitted, {name: value["times_emitted"] for name, value in recorded["positives"].items()}
    )
    sizes = plan.stop_G - plan.start_G
    case.equal("n_positives", len(plan), recorded["n_positives"])
    case.equal("n_groups", len(groups_GK), recorded["n_groups"])
    case.equal("n_rows", groups_GK.size, recorded["n_rows"])
    case.equal("n_products", len(set(products)), recorded["n_products"])
    case.equal("n_products_used", len(set(product_R[plan.positive_G])), recorded["n_products_used"])
    case.equal("combinations", int(sizes.sum()), recorded["n_positive_negative_combinations"])
    for group in range(len(plan)):
        _positive(case, plan, group, reviews, labels, recorded["positives"])
    drawn = {(reviews[row[0]], reviews[k]) for row in groups_GK for k in row[1:]}
    eligible = {
        (name, entry["id"]) for name, value in recorded["positives"].items() for entry in value["negatives"]
    }
    case.equal("drawn but not eligible", drawn - eligible, set())


def _positive(
    case: Comparison,
    plan: PairPlan,
    group: int,
    reviews: tuple[str, ...],
    labels: tuple[int, ...],
    recorded: Mapping[str, Any],
) -> None:
    name = reviews[plan.positive_G[group]]
    if name not in recorded:
        return  # already a difference of `emitted`
    case.equal(f"label of {name}", labels[plan.positive_G[group]], recorded[name]["label"])
    rows, probability = plan.negatives(group)
    weight = plan.weight_R[plan.start_G[group] : plan.stop_G[group]]
    expected = {entry["id"]: entry for entry in recorded[name]["negatives"]}
    case.equal(f"negatives of {name}", {reviews[row] for row in rows}, set(expected))
    if {reviews[row] for row in rows} == set(expected):
        case.close(f"prob of {name}", probability, [expected[reviews[row]]["prob"] for row in rows])
        case.close(f"weight of {name}", weight, [expected[reviews[row]]["raw_weight"] for row in rows])


def _selfmm(case: Comparison, arrays: Arrays, config: Mapping[str, Any]) -> None:
    """The trajectory of labels and centres. Recorded in float32 only, so followed in float32."""
    widths = {FUSION: config["dims"][FUSION], **config["dims"]}
    labels = SelfMMLabels(
        torch.from_numpy(arrays["input/labels"]),
        widths,
        bound=config["H"],
        exclude_zero=config["exclude_zero"],
    )
    losses: dict[str, list[float]] = {name: [] for name in widths}
    for epoch in range(1, config["epochs"] + 1):
        order_N = torch.from_numpy(arrays["input/order"][epoch - 1])
        for start in range(0, len(order_N), config["batch_size"]):
            index_B = order_N[start : start + config["batch_size"]]
            if start == 0:
                prediction_B = torch.linspace(-1, 1, len(index_B), dtype=torch.float64)
                for name in widths:
                    losses[name].append(float(labels.task_loss(name, prediction_B, index_B)))
            feature_BD = {
                name: torch.from_numpy(arrays[f"input/features_{name}"][epoch - 1])[index_B]
                for name in widths
            }
            labels.step(epoch, index_B, feature_BD)
        for name in widths:
            case.close(
                f"{name} labels, epoch {epoch}",
                labels.label_N[name],
                arrays[f"output/labels_{name}_epoch{epoch}"],
            )
            for sign, centre in (("pos", labels.positive_D), ("neg", labels.negative_D)):
                case.close(
                    f"{name} {sign} centre, epoch {epoch}",
                    centre[name],
                    arrays[f"output/center_{name}_{sign}_epoch{epoch}"],
                )
    for name in widths:
        case.close(f"{name} loss", losses[name], arrays[f"output/first_batch_loss_{name}"])
