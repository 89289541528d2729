"""Ranks, amplification, shared directions and intruders: known matrices, numpy and the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.afterwards import geometry
from harness.afterwards.update import describe, place


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def low_rank(m: int, n: int, rank: int, seed: int = 0) -> torch.Tensor:
    return matrix(m, rank, seed=seed) @ matrix(rank, n, seed=seed + 1)


def test_ranks_of_known_spectra():
    """n equal singular values have rank n in either sense; one value has rank 1."""
    for equal in (1, 3, 8):
        values = torch.full((equal,), 2.5)
        assert geometry.stable_rank(values) == pytest.approx(equal)
        assert geometry.effective_rank(values) == pytest.approx(equal)
    halves = torch.tensor([2.0, 1.0, 1.0])  # p = ½, ¼, ¼: entropy 1.5·ln 2
    assert geometry.effective_rank(halves) == pytest.approx(2**1.5)
    assert geometry.stable_rank(halves) == pytest.approx(1.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rounding_is_no_rank(dtype):
    """LoRA's update is of rank r, also when it is read off weights that were rounded to bfloat16."""
    old = matrix(96, 160).to(dtype)
    new = (old.float() + low_rank(96, 160, 5, seed=3)).to(dtype)
    row = describe(old, new)
    assert row["rank"] == 5
    assert len(row["singular_values"]) == 5
    assert 1 <= row["stable_rank"] <= row["effective_rank"] <= 5


def test_amplification_is_the_papers_by_numpy():
    """‖ΔW‖_F / ‖UᵀWV‖_F; a multiple of W's own top directions is amplified by that multiple."""
    base, update = matrix(40, 24), low_rank(40, 24, 4, seed=5)
    u, s, vt = np.linalg.svd(update.double().numpy())
    there = np.linalg.norm(u[:, :4].T @ base.double().numpy() @ vt[:4].T)
    row = describe(base, base + update)
    assert row["amplification"] == pytest.approx(np.linalg.norm(s) / there, rel=1e-4)
    top = geometry.svd(base).first(3)
    again = 0.7 * top.left @ top.values.diag() @ top.right.T
    row = describe(base, base + again)
    assert row["amplification"] == pytest.approx(0.7, rel=1e-4)
    assert row["overlap"] == pytest.approx(1.0, rel=1e-4)
    assert row["intruders"] == 0


def test_subspace_similarity():
    """1 for one space within another, 0 for orthogonal ones, cos² of the angle of two lines."""
    axes = torch.eye(6)
    assert geometry.subspace_similarity(axes, axes, 2, 4) == 1.0
    assert geometry.subspace_similarity(axes[:, :3], axes[:, 3:], 3, 2) == 0.0
    angle = 0.4
    line = torch.tensor([[math.cos(angle)], [math.sin(angle)], [0], [0], [0], [0]])
    assert geometry.subspace_similarity(axes, line, 1, 1) == pytest.approx(math.cos(angle) ** 2)
    a, b = (np.linalg.qr(matrix(30, 8, seed=s).numpy())[0] for s in (1, 2))
    cosines = np.linalg.svd(a[:, :5].T @ b, compute_uv=False)  # of the principal angles
    similar = geometry.subspace_similarity(torch.from_numpy(a), torch.from_numpy(b), 5, 8)
    assert similar == pytest.approx(float((cosines**2).sum()) / 5, rel=1e-5)


@pytest.mark.parametrize(("c", "expected"), [(10.0, 1), (0.5, 0)])
def test_an_intruder_is_like_no_direction_of_the_base(c, expected):
    """Intruder dimensions by hand: W = diag(3, 2, 1, 0), ΔW = c·e₄e₄ᵀ; the top three of W + ΔW."""
    base = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    tuned = base.clone()
    tuned[3, 3] = c
    known = geometry.svd(base).above(geometry.rounding(base))
    assert known.left.shape == (4, 3)
    assert geometry.intruders(known.left, geometry.svd(tuned).first(3).left) == expected


def test_intruders_like_pefts_own_count():
    """The condition of peft's reduce_intruder_dimension, by numpy, on a full-rank matrix."""
    base = matrix(48, 32) * torch.linspace(0.1, 2, 32)
    tuned = base + 6 * low_rank(48, 32, 3, seed=9)
    u0 = np.linalg.svd(base.numpy(), full_matrices=False)[0]
    u1 = np.linalg.svd(tuned.numpy(), full_matrices=False)[0]
    expected = int((np.abs(u1.T @ u0).max(axis=1)[:10] < 0.5).sum())
    assert describe(base, tuned)["intruders"] == expected
    assert 3 <= expected < 10


def test_large_matrices_have_their_top_values_and_no_made_up_ranks(monkeypatch):
    """The randomized path, on a matrix that the exact one can do too."""
    base, update = matrix(300, 200), low_rank(300, 200, 6, seed=4)
    exact = describe(base, base + update)
    monkeypatch.setattr(geometry, "EXACT_SIDE", 100)
    rng = torch.random.get_rng_state()
    row = describe(base, base + update)
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert row["singular_values"][:6] == pytest.approx(exact["singular_values"], rel=1e-3)
    assert row["amplification"] == pytest.approx(exact["amplification"], rel=1e-2)
    assert row["drift"] == exact["drift"]
    for name in ("rank", "stable_rank", "effective_rank", "intruders"):
        assert row[name] is None


def test_places():
    assert place("model.layers.3.mlp.up_proj.weight") == (3, "mlp.up_proj")
    assert place("transformer.h.11.attn.c_attn.weight") == (11, "attn.c_attn")
    assert place("model.embed_tokens.weight") == (None, "embed_tokens")
