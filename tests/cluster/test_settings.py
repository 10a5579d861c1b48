"""`--cluster` and `--cluster-config` say where runs go; what they cannot mean is an error at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cluster.settings import Place, Settings, parse_place
from benchmark.core.errors import BenchError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("local", Place("local")),
        ("slurm", Place("slurm")),
        ("tcp://head:8786", Place("tcp", address="tcp://head:8786")),
        ("tls://10.0.0.1:1", Place("tcp", address="tls://10.0.0.1:1")),
        ("tcp://[::1]:8786", Place("tcp", address="tcp://[::1]:8786")),
        ("ssh:one, two", Place("ssh", hosts=("one", "two"))),
    ],
)
def test_a_place_is_what_it_says(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Local",
        "tcp:head:1",
        "tcp://head",
        "tcp://[::1",
        "tcp://head:99999",
        "ssh:",
        "ssh:,",
        "pbs",
        "slurm:x",
    ],
)
def test_no_place_is_guessed(text: str) -> None:
    with pytest.raises(BenchError, match="--cluster takes local"):
        parse_place(text)


def test_settings_are_read(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(
        'gpus = 2\nmemory = "32GB"\ndirectives = ["--qos=long"]\n[resources]\nLICENCE = 1\n', encoding="utf-8"
    )
    place = parse_place("slurm", file, 5)
    assert place.settings == Settings(
        gpus=2, memory="32GB", directives=("--qos=long",), resources={"LICENCE": 1}
    )
    assert place.needs("cpu") == {"LICENCE": 1}
    assert place.needs("cuda") == {"LICENCE": 1, "GPU": 1}
    assert (place.runs("cuda"), place.workers("cuda", 50)) == (2, 3)  # five at once, two to a worker
    assert (place.runs("cpu"), place.workers("cpu", 50)) == (1, 5)
    assert place.workers("cpu", 2) == 2


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("gpu = 1", "unknown key 'gpu'; known: workers, runs, gpus"),
        ("workers = 0", "workers takes a number of at least 1, not 0"),
        ("workers = true", "workers takes a number"),
        ("gpus = -1", "gpus takes a number of at least 0"),
        ('time = "1:00\\n#SBATCH -p x"', "time takes a text of one line"),
        ("directives = [1]", "directives takes a list of lines"),
        ('[resources]\nGPU = "one"', "resources takes a table"),
        ("= 1", "not a TOML file"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(text: str, match: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match=match) as caught:
        parse_place("slurm", file)
    assert str(file) in str(caught.value)


def test_every_setting_is_checked() -> None:
    from dataclasses import fields

    from benchmark.cluster.settings import _KINDS

    assert set(_KINDS) == {one.name for one in fields(Settings)}
