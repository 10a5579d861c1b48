"""SSP-Label (Eq. 11-12, 17-21) against NumPy, SciPy and scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis
from scipy.special import expit
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from benchmark.core.errors import TrainingError
from mmss import distances, pseudo_labels
from mmss.config import Config
from mmss.distances import Chunks, anchor, fit_distribution, robust_cholesky, spread
from mmss.pseudo_labels import PseudoLabels, estimate, smoothed
from tests.mmss.fixtures import SMALL

N, G = 40, 6
Floats = NDArray[np.float64]


def config(**fields: Any) -> Config:
    return Config(**(SMALL | {"d_g": G} | fields))


def sample(seed: int = 0, n: int = N) -> tuple[Floats, Floats]:
    """Labels `[n]` and correlated representations `[n, G]`."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, n).astype(float), rng.normal(size=(n, G)) @ rng.normal(size=(G, G)) + 1.0


def chunked(label_N: Floats, f_NG: Floats, size: int) -> Chunks:
    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(label_N), size):
            yield torch.tensor(label_N[start : start + size]), torch.tensor(f_NG[start : start + size])

    return blocks


def anchor_by_hand(label_N: Floats, f_NG: Floats) -> Floats:
    """Eq. 17 as a loop over reviews."""
    top, bottom = np.zeros(G), 0.0
    for label, f in zip(label_N, f_NG, strict=True):
        top, bottom = top + expit(label) * f, bottom + expit(label)
    return top / bottom


def covariance_by_hand(z_NG: Floats, kind: str, ridge: float = 1e-3) -> Floats:
    if kind == "ledoit-wolf":
        shrunk, _ = ledoit_wolf(z_NG, assume_centered=True)
        return np.asarray(shrunk)
    second = z_NG.T @ z_NG / len(z_NG)
    if kind == "ridge":
        return second + ridge * np.trace(second) / G * np.eye(G)
    return np.diag(np.diag(second)) if kind == "diagonal" else np.eye(G)


@pytest.mark.parametrize("size", [N, 7])
def test_anchor(size: int) -> None:
    label_N, f_NG = sample()
    np.testing.assert_allclose(
        anchor(chunked(label_N, f_NG, size)), anchor_by_hand(label_N, f_NG), atol=1e-13
    )
    np.testing.assert_allclose(anchor(chunked(label_N, f_NG, size), "unweighted"), f_NG.mean(0), atol=1e-13)


@pytest.mark.parametrize("size", [400, 97])
@pytest.mark.parametrize("n", [3, 40, 400])
def test_ledoit_wolf_weight_is_scikit_learns_about_a_given_centre(n: int, size: int) -> None:
    label_N, f_NG = sample(n=n)
    centre = f_NG.mean(0) + 0.3
    fitted = spread(chunked(label_N, f_NG, size), torch.tensor(centre), "ledoit-wolf", 1e-3)
    shrunk, weight = ledoit_wolf(f_NG - centre, assume_centered=True)
    assert fitted.shrinkage == pytest.approx(weight, abs=1e-12)
    assert fitted.factor_GG is not None
    np.testing.assert_allclose(fitted.factor_GG @ fitted.factor_GG.T, shrunk, atol=1e-10)


@pytest.mark.parametrize("kind", ["ledoit-wolf", "ridge", "diagonal", "euclidean"])
@pytest.mark.parametrize("scale", ["dim", "rms", "one"])
def test_distance_against_scipy(kind: str, scale: str) -> None:
    label_N, f_NG = sample()
    fitted = fit_distribution(chunked(label_N, f_NG, 13), config(covariance=kind, distance_scale=scale))
    centre = anchor_by_hand(label_N, f_NG)
    inverse = np.linalg.inv(covariance_by_hand(f_NG - centre, kind))
    plain = np.array([mahalanobis(f, centre, inverse) for f in f_NG])
    divisor = {"dim": np.sqrt(G), "rms": np.sqrt((plain**2).mean()), "one": 1.0}[scale]
    np.testing.assert_allclose(fitted.distance(torch.tensor(f_NG)), plain / divisor, rtol=1e-9)


def test_the_default_scale_makes_the_mean_squared_distance_one() -> None:
    """Exactly so without shrinkage, whatever the representations' own scale: trace(S^-1 S) / G."""
    label_N, f_NG = sample(n=500)
    for factor in (1e-3, 1.0, 1e3):
        fitted = fit_distribution(
            chunked(label_N, factor * f_NG, 500), config(covariance="ridge", ridge=1e-12)
        )
        assert float(fitted.distance(torch.tensor(factor * f_NG)).square().mean()) == pytest.approx(
            1, abs=1e-6
        )


@pytest.mark.parametrize("kind", ["ledoit-wolf", "ridge", "diagonal", "euclidean"])
def test_a_dead_unit_adds_nothing_to_a_distance(kind: str) -> None:
    label_N, f_NG = sample()
    f_NG[:, 2] = 0.0
    fitted = fit_distribution(chunked(label_N, f_NG, N), config(covariance=kind, distance_scale="one"))
    centre = anchor_by_hand(label_N, f_NG)
    alive = [0, 1, 3, 4, 5]
    inverse = (
        np.linalg.inv(covariance_by_hand(f_NG - centre, kind)[np.ix_(alive, alive)])
        if kind != "diagonal"
        else (np.diag(1 / np.diag(covariance_by_hand(f_NG - centre, kind))[alive]))
    )
    want = [mahalanobis(f[alive], centre[alive], inverse) for f in f_NG]
    np.testing.assert_allclose(fitted.distance(torch.tensor(f_NG)), want, rtol=1e-6)


def test_a_singular_covariance_gets_a_ridge_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    singular = torch.diag(torch.tensor([4.0, 2.0, 0.0], dtype=torch.float64))
    factor, ridge = robust_cholesky(singular)
    assert ridge == distances.FIRST_RIDGE
    torch.testing.assert_close(factor @ factor.T, singular + ridge * 2.0 * torch.eye(3, dtype=torch.float64))
    indefinite = torch.diag(torch.tensor([4.0, 2.0, -1e-4], dtype=torch.float64))
    assert robust_cholesky(indefinite)[1] == pytest.approx(1e-4, rel=1e-6)
    assert robust_cholesky(torch.eye(3, dtype=torch.float64))[1] == 0.0
    label_R, f_EKNG, rows_E = trajectory_input(1)
    monkeypatch.setattr(distances, "robust_cholesky", lambda sigma: (robust_cholesky(sigma)[0], 0.125))
    (report,) = drive(PseudoLabels(torch.tensor(label_R), config(), "cpu"), f_EKNG, rows_E)
    assert {task["ridge_raised_to"] for task in report["tasks"].values()} == {0.125}


def test_representations_that_are_all_alike_have_distance_zero() -> None:
    label_N, f_NG = np.arange(5.0) % 5, np.ones((5, G))
    for kind in ("ledoit-wolf", "ridge", "diagonal", "euclidean"):
        fitted = fit_distribution(chunked(label_N, f_NG, 5), config(covariance=kind))
        assert float(fitted.distance(torch.tensor(f_NG)).max()) == pytest.approx(0, abs=1e-6)


def test_a_matrix_that_no_ridge_helps() -> None:
    with pytest.raises(ValueError, match="cannot be factorised"):
        robust_cholesky(torch.diag(torch.tensor([1.0, -5.0, 1.0], dtype=torch.float64)))


chis = st.floats(0.05, 5.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), chis, chis)
def test_offset_against_the_closed_forms(label: int, chi_s: float, chi_g: float) -> None:
    """For alpha = 1 and e -> 0 the derived form is y + (chi_s - chi_g)(y + chi_g) / (2 chi_g)."""
    y, s, g = (torch.tensor([value], dtype=torch.float64) for value in (float(label), chi_s, chi_g))
    derived = label + (chi_s - chi_g) * (label + chi_g) / (2 * chi_g)
    assert float(estimate(y, s, g, config(offset_epsilon=0.0))) == pytest.approx(derived, abs=1e-9)
    printed = label + chi_s / chi_g - label / 2
    assert float(estimate(y, s, g, config(offset="printed", offset_epsilon=0.0))) == pytest.approx(printed)


def test_offset_is_the_mean_of_ratio_and_difference() -> None:
    label, chi_s, chi_g = 3.0, 1.7, 0.8
    alpha1, alpha2, small = 0.6, 1.4, 1e-2
    ratio = alpha1 * chi_s / (chi_g + small) * label
    difference = label + alpha2 * (chi_s - chi_g)
    inputs = (torch.tensor([value], dtype=torch.float64) for value in (label, chi_s, chi_g))
    got = estimate(*inputs, config(alpha1=alpha1, alpha2=alpha2, offset_epsilon=small))
    assert float(got) == pytest.approx((ratio + difference) / 2, abs=1e-12)


def test_equal_distances_leave_the_label_alone_and_the_clamp_is_symmetric() -> None:
    label_N = torch.arange(5, dtype=torch.float64)
    chi_N = torch.full((5,), 0.7, dtype=torch.float64)
    torch.testing.assert_close(estimate(label_N, chi_N, chi_N, config(offset_epsilon=0.0)), label_N)
    far = estimate(label_N, 50 * chi_N, chi_N, config(label_clamp="symmetric"))
    assert float(far.max()) == 4.0
    low = estimate(label_N, 0 * chi_N, 100 * chi_N, config(label_clamp="symmetric"))
    assert float(low.min()) == -4.0


def test_smoothing_is_an_average_with_linear_weights() -> None:
    """Eq. 12 with b = 2/(i+1) gives `sum_j j x_j / sum_j j` over epochs j = 1..i."""
    values = np.random.default_rng(4).normal(size=9)
    label = torch.tensor(values[0])
    for epoch in range(2, 10):
        label = smoothed(label, torch.tensor(values[epoch - 1]), epoch)
        steps = np.arange(1, epoch + 1)
        assert float(label) == pytest.approx((steps * values[:epoch]).sum() / steps.sum(), abs=1e-12)


def drive(
    store: PseudoLabels, f_EKNG: Floats, rows_E: list[list[int]], seen: list[Tensor] | None = None
) -> list[dict[str, Any]]:
    """Epochs of two batches each; labels after every epoch go to `seen`."""
    reports = []
    for f_KNG, rows in zip(f_EKNG, rows_E, strict=True):
        for part in np.array_split(np.array(rows), 2):
            store.observe(torch.tensor(part), torch.tensor(f_KNG[:, part], dtype=torch.float32))
        reports.append(store.end_epoch())
        if seen is not None:
            seen.append(store.pseudo_SR.clone())
    return reports


def epochs_by_hand(label_R: Floats, f_EKNG: Floats, rows_E: list[list[int]]) -> list[Floats]:
    """The whole scheme with SciPy's distance and loops: labels `[S, R]` after each epoch."""
    pseudo_SR = np.repeat(label_R[None], f_EKNG.shape[1] - 1, axis=0)
    after = []
    for epoch, (f_KNG, rows) in enumerate(zip(f_EKNG, rows_E, strict=True), start=1):
        chi = np.zeros(f_KNG.shape[:2])
        for task, f_NG in enumerate(f_KNG):
            current = label_R if task == 0 else pseudo_SR[task - 1]
            centre = anchor_by_hand(current[rows], f_NG[rows])
            inverse = np.linalg.inv(covariance_by_hand(f_NG[rows] - centre, "ledoit-wolf"))
            for row in rows:
                chi[task, row] = mahalanobis(f_NG[row], centre, inverse) / np.sqrt(G)
        pseudo_SR = pseudo_SR.copy()
        weight = 2 / (epoch + 2)  # these labels are those of epoch + 1
        for task in range(len(pseudo_SR)):
            for row in rows:
                y, s, g = label_R[row], chi[task + 1, row], chi[0, row]
                value = (y + s - g) / 2 + s * y / (2 * (g + 1e-8))
                pseudo_SR[task, row] = weight * value + (1 - weight) * pseudo_SR[task, row]
        after.append(pseudo_SR)
    return after


def trajectory_input(epochs: int = 3) -> tuple[Floats, Floats, list[list[int]]]:
    rng = np.random.default_rng(9)
    label_R = rng.integers(0, 5, N).astype(float)
    mixing = rng.normal(size=(6, G, G))
    f_EKNG = np.einsum("eknh,khg->ekng", rng.normal(size=(epochs, 6, N, G)), mixing).astype(np.float32)
    rows_E = [sorted(rng.permutation(N)[:30].tolist()) for _ in range(epochs)]
    return label_R, f_EKNG.astype(np.float64), rows_E


def test_three_epochs_against_the_scheme_by_hand() -> None:
    label_R, f_EKNG, rows_E = trajectory_input()
    store, seen = PseudoLabels(torch.tensor(label_R), config(), "cpu"), []
    reports = drive(store, f_EKNG, rows_E, seen)
    for got, want in zip(seen, epochs_by_hand(label_R, f_EKNG, rows_E), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)
    last = reports[-1]["tasks"]["pvrv"]
    row_N = rows_E[-1]
    labels = seen[-1][1, row_N].double().numpy()
    assert (reports[-1]["reviews_visited"], reports[-1]["share_visited"]) == (30, 30 / N)
    assert last["mean"] == pytest.approx(labels.mean(), abs=1e-6)
    assert last["sd"] == pytest.approx(labels.std(), abs=1e-6)
    assert [last["q25"], last["median"], last["q75"]] == pytest.approx(np.quantile(labels, [0.25, 0.5, 0.75]))
    assert last["mean_change"] == pytest.approx(float((seen[-1] - seen[-2])[1, row_N].abs().mean()), abs=1e-6)
    json.dumps(reports)


def test_chunks_do_not_change_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    label_R, f_EKNG, rows_E = trajectory_input(2)
    whole = PseudoLabels(torch.tensor(label_R), config(), "cpu")
    drive(whole, f_EKNG, rows_E)
    monkeypatch.setattr(pseudo_labels, "CHUNK_REVIEWS", 7)
    parts = PseudoLabels(torch.tensor(label_R), config(), "cpu")
    drive(parts, f_EKNG, rows_E)
    torch.testing.assert_close(parts.pseudo_SR, whole.pseudo_SR, atol=1e-6, rtol=0)


def test_half_precision_storage_moves_the_labels_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    label_R, f_EKNG, rows_E = trajectory_input(2)
    full = PseudoLabels(torch.tensor(label_R), config(), "cpu")
    drive(full, f_EKNG, rows_E)
    monkeypatch.setattr(pseudo_labels, "FULL_PRECISION_BYTES", 1)
    half = PseudoLabels(torch.tensor(label_R), config(), "cpu")
    assert half.representation_KRG.dtype == torch.float16
    drive(half, f_EKNG, rows_E)
    torch.testing.assert_close(half.pseudo_SR, full.pseudo_SR, atol=0.02, rtol=0)


def test_labels_start_as_the_human_ones_and_unvisited_reviews_keep_theirs() -> None:
    label_R, f_EKNG, rows_E = trajectory_input()
    store, seen = PseudoLabels(torch.tensor(label_R), config(), "cpu"), []
    assert bool((store.pseudo_SR == store.label_R).all())
    drive(store, f_EKNG, rows_E, seen)
    before = store.label_R.repeat(5, 1)
    for after, rows in zip(seen, rows_E, strict=True):
        absent = np.setdiff1d(np.arange(N), rows)
        assert bool((after[:, absent] == before[:, absent]).all())
        assert bool((after[:, rows] != before[:, rows]).all())
        before = after


def test_batch_update_moves_a_review_once_per_epoch_from_the_second_on() -> None:
    label_R, f_EKNG, _ = trajectory_input(2)
    store = PseudoLabels(torch.tensor(label_R), config(label_update="batch"), "cpu")
    rows = list(range(N))
    drive(store, f_EKNG[:1], [rows])
    assert bool((store.pseudo_SR == store.label_R).all())
    some = torch.arange(10)
    now = torch.tensor(f_EKNG[1][:, :10], dtype=torch.float32)
    store.observe(some, now)
    moved = store.pseudo_SR.clone()
    # By hand: epoch 2 has b = 2/3, distances to epoch 1's anchors.
    for task in range(5):
        chi = []
        for k in (task + 1, 0):
            f_NG = f_EKNG[0][k]
            centre = anchor_by_hand(label_R, f_NG)
            inverse = np.linalg.inv(covariance_by_hand(f_NG - centre, "ledoit-wolf"))
            chi.append(np.array([mahalanobis(f, centre, inverse) for f in f_EKNG[1][k][:10]]) / np.sqrt(G))
        y = label_R[:10]
        value = (y + chi[0] - chi[1]) / 2 + chi[0] * y / (2 * (chi[1] + 1e-8))
        np.testing.assert_allclose(moved[task, :10], 2 / 3 * value + y / 3, atol=2e-5)
    assert bool((moved[:, 10:] == store.label_R[10:]).all())
    store.observe(some, 2 * now)  # a second visit in the same epoch
    assert bool((store.pseudo_SR == moved).all())


@pytest.mark.parametrize("where", [0, 3])
def test_a_value_that_is_not_finite_names_epoch_and_task(where: int) -> None:
    label_R, f_EKNG, rows_E = trajectory_input(2)
    f_EKNG[1, where, rows_E[1][3], 2] = np.nan
    store = PseudoLabels(torch.tensor(label_R), config(), "cpu")
    named = "target task" if where == 0 else "subtask ptrv"
    with pytest.raises(TrainingError, match=f"epoch 2, {named}: .*not finite"):
        drive(store, f_EKNG, rows_E)


def test_an_epoch_without_visits_changes_nothing() -> None:
    store = PseudoLabels(torch.arange(4.0), config(), "cpu")
    report = store.end_epoch()
    assert report["reviews_visited"] == 0
    assert bool((store.pseudo_SR == store.label_R).all())


def test_sample_reviews_cover_the_labels_and_are_followed() -> None:
    label_R, f_EKNG, rows_E = trajectory_input(1)
    store = PseudoLabels(torch.tensor(label_R), config(), "cpu")
    (report,) = drive(store, f_EKNG, rows_E)
    samples = report["samples"]
    assert len(samples["row"]) == 8
    assert set(samples["label"]) == set(label_R)
    assert samples["rtrv"] == store.pseudo_SR[4, samples["row"]].tolist()
    few = PseudoLabels(torch.arange(3.0), config(), "cpu")
    assert sorted(few.end_epoch()["samples"]["row"]) == [0, 1, 2]
