"""φ between adapters of two ranks: equal to its definition, drawn only where there are two."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.numpy import save_file
from synthetic_run import PROFILES, Maker

from harness.afterwards.geometry import subspace_similarity
from harness.reporting import build_report
from harness.reporting.figures.subspaces import similarities


def test_phi_is_that_of_the_definition_and_of_the_analysis_after_training():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 20)), rng.normal(size=(7, 20))
    phi = similarities(a, b)
    assert phi.shape == (3, 7)
    left, right = (torch.linalg.svd(torch.tensor(x), full_matrices=False)[2].T for x in (a, b))
    for i in range(1, 4):
        for j in range(1, 8):
            expected = subspace_similarity(left, right, i, j)
            assert abs(phi[i - 1, j - 1] - expected) < 1e-12
    within = similarities(b[:3], b)
    assert abs(within[-1, -1] - 1) < 1e-12  # a space within the other
    apart = similarities(np.eye(3, 20), np.eye(20)[10:14])
    assert not apart.any()


def test_drawn_where_two_ranks_have_adapters(tmp_path):
    maker = Maker(tmp_path / "runs" / "ranks", n=30)
    maker.sweep(methods=["lora"])
    rng = np.random.default_rng(1)
    for number, rank in enumerate((2, 8)):
        maker.trial(PROFILES[1], number, size=rank)
        folder = maker.trial(PROFILES[1], number, "confirm", 101, size=rank)
        if rank == 8:
            page = (build_report(maker.folder, tmp_path) / "index.html").read_text("utf-8")
            assert "The same directions?" not in page  # one adapter alone says nothing
        (folder / "adapter").mkdir()
        names = [f"base_model.model.model.layers.{i}.self_attn.q_proj" for i in range(3)]
        factors = {f"{n}.lora_A.weight": rng.normal(size=(rank, 16)) for n in names}
        save_file(factors, folder / "adapter" / "adapter_model.safetensors")
    page = (build_report(maker.folder, tmp_path) / "index.html").read_text("utf-8")
    assert "The same directions?" in page
    assert "in layer 1" in page
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"torn")
    page = (build_report(maker.folder, tmp_path) / "index.html").read_text("utf-8")
    assert "The same directions?" not in page
