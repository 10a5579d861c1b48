"""One thread per test process: two workers share two cores, and a sum's order must not depend on it.

Fixtures for tests that go through the command line: a tiny corpus, its cache, where a test's results go.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The suite gives the same verdict every time; `--hypothesis-profile explore` draws new examples.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("fixed")

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny synthetic release: two data sets, one category each."""
    from benchmark.data.mini.corpus import MiniSpec, write_corpus

    root = tmp_path_factory.mktemp("corpus") / "tiny"
    spec = MiniSpec(
        train_products=24, dev_products=5, test_products=6, roi_width=16, categories=("home",), seed=7
    )
    write_corpus(root, spec)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def where(corpus: Path, cache: Path, tmp_path: Path) -> list[str]:
    """Options that name the tiny corpus, its cache and a results folder of the test's own."""
    return ["--data", str(corpus), "--cache", str(cache), "--results", str(tmp_path / "results")]


@pytest.fixture(autouse=True)
def registry_as_it_was() -> Iterator[None]:
    """A method that a test registers, by naming its file say, is not there for the next one."""
    from benchmark import models

    before = dict(models.METHODS)
    yield
    if before != models.METHODS:
        models.METHODS.clear()
        models.METHODS.update(before)
