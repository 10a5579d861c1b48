"""A BERT's token states against the library's own forward pass, gradients included."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from benchmark.core.types import length_mask
from benchmark.encoders.states import is_plain_bert, token_states

SIZES = {"vocab_size": 30, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}


def bert(**fields) -> BertModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES, intermediate_size=40, **fields), add_pooling_layer=False)


def batch():
    count_N = torch.tensor([7, 1, 4, 9])
    return torch.randint(1, 30, (4, 9)), length_mask(count_N, 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_and_gradients_are_the_librarys(dtype):
    model, (token_NT, mask_NT) = bert().to(dtype).eval(), batch()
    weight = torch.linspace(-1, 1, 4 * 9 * 24, dtype=dtype).view(4, 9, 24) * mask_NT.unsqueeze(-1)
    found = []
    for states in (
        token_states(model, token_NT, mask_NT),
        model(input_ids=token_NT, attention_mask=mask_NT.long()).last_hidden_state,
    ):
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad((states * weight).sum(), parameters)
        found.append({"states": states * mask_NT.unsqueeze(-1)} | dict(zip(names, gradients, strict=True)))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for name, expected in found[1].items():
        torch.testing.assert_close(found[0][name], expected, rtol=tolerance, atol=tolerance, msg=name)
    assert not token_states(model, token_NT, mask_NT)[~mask_NT].any()


def test_dropout_is_drawn_at_every_place_and_keeps_the_mean():
    """Over draws the first layer's input has the mean that it has without; each place draws something of its own."""
    model, (token_NT, mask_NT) = bert(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3), batch()
    exact = token_states(model.eval(), token_NT, mask_NT)
    model.train()
    drawn = token_states(model, token_NT, mask_NT)
    assert (drawn - exact)[mask_NT].abs().min(dim=0).values.max() > 0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.encoder.layer[1].attention.self.dropout.p = 0.3  # one place alone
    torch.manual_seed(1)
    first = token_states(model, token_NT, mask_NT)
    assert not torch.equal(first, token_states(model, token_NT, mask_NT))
    torch.manual_seed(1)
    assert torch.equal(first, token_states(model, token_NT, mask_NT))


def test_another_kind_of_encoder_runs_as_it_is():
    torch.manual_seed(0)
    model = DistilBertModel(
        DistilBertConfig(vocab_size=30, dim=24, n_heads=3, n_layers=1, hidden_dim=40)
    ).eval()
    token_NT, mask_NT = batch()
    assert not is_plain_bert(model)
    assert not is_plain_bert(bert(hidden_act="relu"))
    expected = model(input_ids=token_NT, attention_mask=mask_NT.long()).last_hidden_state
    # padding apart, at which such a model's states mean nothing
    torch.testing.assert_close(token_states(model, token_NT, mask_NT), expected * mask_NT.unsqueeze(-1))
