"""Checkpoints of the original code under our names, and what is refused."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baselines.convknrm import ConvKNRM
from baselines.prhnet import Config, PRHNet
from benchmark import models
from benchmark.checks.reference import Reference, build, import_weights, our_names, read_reference
from benchmark.checks.unpickle import read_checkpoint
from benchmark.core.errors import DataError, UsageError
from benchmark.core.types import CorpusShape
from tests.data.pth_readers import hostile

GOLDENS = Path(str(files("benchmark") / "checks" / "recorded"))


def parameters(name):
    with np.load(GOLDENS / f"{name}.npz") as golden:
        config = json.loads(str(golden["config"]))
        return config, {
            key.removeprefix("param/"): torch.from_numpy(golden[key])
            for key in golden.files
            if key.startswith("param/")
        }


def same_weights(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", [*models.METHODS, "sancl_bert"])
def test_every_golden_round_trips(name, tmp_path):
    method = {"sancl_bert": "sancl"}.get(name, name)
    source = GOLDENS / f"{name}.npz"
    if models.load(method).released is None:
        with pytest.raises(UsageError, match="no released implementation"):
            our_names(models.load(method), ["linear.weight"])
        return
    import_weights(method, source, tmp_path / "out")
    written = load_file(tmp_path / "out" / "weights.safetensors")
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    model_class = models.load(method)
    model = model_class(
        model_class.config_class(**_tuples(described["model"])), CorpusShape(**described["corpus"])
    )
    model.load_state_dict(written)
    same_weights(model.state_dict(), build(model_class, read_reference(source)).state_dict())
    assert described["method"] == method
    assert described["source"] == source.name


def _tuples(config):
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}


@pytest.mark.parametrize(
    "name", ["bimpm", "convknrm", "egcnn", "prhnet", "mcr", "mcl", "sancl", "sancl_bert"]
)
def test_declared_unused_names_are_those_without_effect(name):
    """What the goldens list as without effect on the score is exactly what we leave out, or give a use only in
    the contrastive terms."""
    config, reference = parameters(name)
    mapped = our_names(models.load({"sancl_bert": "sancl"}.get(name, name)), reference)
    # the BERT encoder is listed again under each side's text encoder
    unused = {
        re.sub(r"^\w+_txt_encoder\.token_embedding\.(?!embedding)", "bert_encoder.", key)
        for key, ours in mapped.items()
        if ours is None
    }
    assert unused <= set(config["params_without_effect_on_score"])


def test_torch_checkpoint_with_settings_beside_it(tmp_path):
    config, reference = parameters("prhnet")
    source = tmp_path / "model.pt"
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in reference.items()}, "epoch": 3}, source
    )
    source.with_suffix(".json").write_text(json.dumps(config))
    import_weights("prhnet", source, tmp_path / "out")
    expected = build(PRHNet, read_reference(GOLDENS / "prhnet.npz")).state_dict()
    same_weights(load_file(tmp_path / "out" / "weights.safetensors"), expected)


def test_torch_checkpoint_at_released_sizes_needs_no_settings(tmp_path):
    torch.manual_seed(0)
    ours = PRHNet(Config(form="released"), CorpusShape(17, 23, 0, 1, 0)).state_dict()
    theirs = {}
    for prefix, target in sorted(PRHNet.reference_names.items(), key=lambda pair: len(pair[0])):
        theirs |= {
            prefix + n.removeprefix(target): value for n, value in ours.items() if n.startswith(target)
        }
    torch.save(theirs, tmp_path / "model.pt")
    import_weights("prhnet", tmp_path / "model.pt", tmp_path / "out")
    same_weights(load_file(tmp_path / "out" / "weights.safetensors"), ours)
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    assert described["corpus"]["product_vocabulary"] == 17
    assert described["corpus"]["review_vocabulary"] == 23


def test_other_sizes_without_settings_are_explained(tmp_path):
    torch.save(parameters("prhnet")[1], tmp_path / "model.pt")
    with pytest.raises(
        DataError, match=r"(?s)\.json.*shape of attention\.b: \[1, 1, 16\] in the file, \[1, 1, 128\]"
    ):
        import_weights("prhnet", tmp_path / "model.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_keeps_its_reader_busy_for_ever_is_refused(tmp_path):
    hostile(tmp_path / "victim")["bomb: hash"](tmp_path / "weights.pth")
    with pytest.raises(DataError, match=r"weights\.pth: refused"):
        read_checkpoint(tmp_path / "weights.pth", 8.0)


@pytest.mark.parametrize("settings", ["3", "[]", '{"method": []}', "[" * 100_000, "9" * 5_000])
def test_settings_that_are_none_are_named(tmp_path, settings):
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pth")
    (tmp_path / "weights.json").write_text(settings)
    with pytest.raises(DataError, match=r"weights\.json: no settings"):
        read_reference(tmp_path / "weights.pth")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Payload()}, tmp_path / "model.pt")
    with pytest.raises(DataError, match="refused"):
        import_weights("prhnet", tmp_path / "model.pt", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_unmapped_missing_and_untied_parameters_are_named():
    config, reference = parameters("convknrm")
    with pytest.raises(DataError, match=r"map to nothing of ours:\nextra\.weight\nother"):
        build(
            ConvKNRM,
            Reference("f", {**reference, "extra.weight": torch.ones(1), "other": torch.ones(1)}, config),
        )
    with pytest.raises(DataError, match=r"missing: scorer\.bias"):
        build(ConvKNRM, Reference("f", {k: v for k, v in reference.items() if k != "out.bias"}, config))
    untied = {**reference, "d_convs.1.1.bias": reference["d_convs.1.1.bias"] + 1}
    with pytest.raises(
        DataError, match=r"q_convs\.1\.1\.bias and d_convs\.1\.1\.bias are one tensor of ours"
    ):
        build(ConvKNRM, Reference("f", untied, config))


def test_other_bad_input(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        import_weights("prhnet", tmp_path / "none.pt", tmp_path / "out")
    with pytest.raises(UsageError, match="holds weights of mcr, not of mcl"):
        import_weights("mcl", GOLDENS / "mcr.npz", tmp_path / "out")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(DataError, match=r"text\.npz: not a golden"):
        import_weights("mcl", tmp_path / "text.npz", tmp_path / "out")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="no state dict"):
        import_weights("mcl", tmp_path / "list.pt", tmp_path / "out")
    with pytest.raises(DataError, match=r"settings lack or misstate 'text_encoder'"):
        build(PRHNet, Reference("f", {}, {"shape": {}, "embedding": {"product_token": {"dimension": 3}}}))
