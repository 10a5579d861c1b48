"""The released text-only networks once more, in NumPy, one row and one step at a time.

Written from the equations, with the reference's parameter names; nothing here is shared with the package.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit


def lstm(x, weights, prefix, reverse=False):
    """States of one direction, `[T, H]`, in the order of the text; gates i, f, g, o."""
    end = "_l0_reverse" if reverse else "_l0"
    w_ih, w_hh = weights[f"{prefix}weight_ih{end}"], weights[f"{prefix}weight_hh{end}"]
    bias = weights[f"{prefix}bias_ih{end}"] + weights[f"{prefix}bias_hh{end}"]
    hidden = w_hh.shape[1]
    h, c = np.zeros(hidden), np.zeros(hidden)
    states = np.zeros((len(x), hidden))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        i, f, g, o = np.split(w_ih @ x[t] + w_hh @ h + bias, 4)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        states[t] = h
    return states


def bilstm(x, weights, prefix):
    return lstm(x, weights, prefix), lstm(x, weights, prefix, reverse=True)


def cosine(x, y):
    return x @ y / (max(np.linalg.norm(x), 1e-8) * max(np.linalg.norm(y), 1e-8))


def bounded(value):
    return value if value > 1e-8 else 1e-8


def match(p, h, last_h, weights):
    """Full, max-pooling, attentive and max-attentive features of every step of p, `[T, 4P]`."""
    rows = []
    for state in p:
        alpha = np.array([state @ y / bounded(np.linalg.norm(state) * np.linalg.norm(y)) for y in h])
        mean = sum(a * y for a, y in zip(alpha, h, strict=True)) / bounded(alpha.sum())
        maximum = np.max([a * y for a, y in zip(alpha, h, strict=True)], axis=0)
        full, pool, attend, max_attend = weights
        row = [cosine(w * state, w * last_h) for w in full]
        row += [max(cosine(w * state, w * y) for y in h) for w in pool]
        row += [cosine(w * state, w * mean) for w in attend]
        row += [cosine(w * state, w * maximum) for w in max_attend]
        rows.append(row)
    return np.array(rows)


def bimpm(weights, config, product, review, product_length, review_length):
    p = bilstm(weights["q_embedding.embedding.weight"][product], weights, "context_LSTM.")
    h = bilstm(weights["d_embedding.embedding.weight"][review], weights, "context_LSTM.")
    odd, even = ([weights[f"mp_w{k}"] for k in range(start, 9, 2)] for start in (1, 2))
    p_features = np.concatenate([match(p[0], h[0], h[0][-1], odd), match(p[1], h[1], h[1][0], even)], 1)
    h_features = np.concatenate([match(h[0], p[0], p[0][-1], odd), match(h[1], p[1], p[1][0], even)], 1)
    final = []
    for features in (p_features, h_features):
        forward, backward = bilstm(features, weights, "aggregation_LSTM.")
        final += [forward[-1], backward[0]]
    hidden = np.tanh(weights["pred_fc1.weight"] @ np.concatenate(final) + weights["pred_fc1.bias"])
    return (weights["pred_fc2.weight"] @ hidden + weights["pred_fc2.bias"])[0]


def convolve(x, weight, bias):
    """Valid 1-D convolution over time: `[T, E]` and `[C, E, k]` -> `[T - k + 1, C]`."""
    k = weight.shape[2]
    return np.array([np.einsum("te,cet->c", x[t : t + k], weight) + bias for t in range(len(x) - k + 1)])


def convknrm(weights, config, product, review, product_length, review_length):
    p = weights["q_embedding.embedding.weight"][product]
    r = weights["d_embedding.embedding.weight"][review]
    kernel_sizes = config["prd_txt_encoder"]["encoder"]["kernel_size"]
    K, sigma = config["gausian_kernel"]["kernel_num"], config["gausian_kernel"]["sigma"]
    centres = [((1 + 2 * i) / (K - 1) - 1, sigma) for i in range(K - 1)]
    centres.append((1.0, config["gausian_kernel"]["exact_sigma"]))

    def grams(x, side):
        return [
            np.tanh(
                convolve(
                    np.concatenate([x, np.zeros((k, x.shape[1]))]),
                    weights[f"{side}_convs.{i}.1.weight"],
                    weights[f"{side}_convs.{i}.1.bias"],
                )
            )
            for i, k in enumerate(kernel_sizes)
        ]

    features = []
    for a in grams(p, "q"):
        for c in grams(r, "d"):
            matrix = np.array([[x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) for y in c] for x in a])
            for centre, width in centres:
                features.append(np.log1p(np.exp(-((matrix - centre) ** 2) / (2 * width**2)).sum(1)).sum())
    return (weights["out.weight"] @ np.array(features) + weights["out.bias"])[0]


def egcnn(weights, config, product, review, product_length, review_length):
    x = np.concatenate(
        [
            weights["product_token_embedding.embedding.weight"][product],
            weights["review_token_embedding.embedding.weight"][review],
        ]
    )
    gate = expit(x @ weights["emb_linear.0.weight"][0] + weights["emb_linear.0.bias"])
    windows = convolve(gate[:, None] * x, weights["conv.weight"], weights["conv.bias"])
    return (weights["linear.weight"] @ windows.max(0) + weights["linear.bias"])[0]


def prhnet(weights, config, product, review, product_length, review_length):
    p_words = weights["product_token_embedding.embedding.weight"][product[:product_length]]
    r_words = weights["review_token_embedding.embedding.weight"][review[:review_length]]
    p = np.concatenate(bilstm(p_words, weights, "product_rnn.rnn.rnn."), 1)
    v = np.concatenate(bilstm(r_words, weights, "review_rnn.rnn.rnn."), 1)
    a = np.maximum(p @ weights["pr_aware_attn.w"] + weights["pr_aware_attn.b"][0, 0], 0)
    total = np.zeros(v.shape[1])
    for row in v:
        logit = a @ row
        share = np.exp(logit - logit.max())
        total += row + (share / share.sum()) @ p
    return (weights["linear.weight"] @ (total / review_length) + weights["linear.bias"])[0]


NETWORKS = {"bimpm": bimpm, "convknrm": convknrm, "egcnn": egcnn, "prhnet": prhnet}
