"""Report of quantized bases: their storage, and the normality of their weights."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.reporting import build_report

FULL = {
    "quantization": "none",
    "double_quantization": False,
    "compute_dtype": None,
    "dtype": "bfloat16",
    "bits_per_parameter": 16.0,
    "bits_per_linear_weight": 16.0,
    "linear_share": 0.8,
    "base_bytes": 14e9,
}
NF4 = FULL | {
    "quantization": "nf4",
    "double_quantization": True,
    "compute_dtype": "bfloat16",
    "bits_per_parameter": 6.5,
    "bits_per_linear_weight": 4.126953125,
    "base_bytes": 4.2e9,
}
LAYER = {"rows": 64, "skewness": 0.5, "excess_kurtosis": 4.0}


def layer(name, rejected, error):
    return {"name": name, "rejected": rejected, **LAYER, "error": dict.fromkeys(error, 0.1)}


@pytest.fixture
def quantized(sweep_folder, tmp_path):
    """The synthetic sweep, as if its qlora had had an NF4 base of two kinds of layers."""
    folder = tmp_path / "demo"
    shutil.copytree(sweep_folder, folder)
    for file in folder.glob("trials/*/*/record.json"):
        record = json.loads(file.read_text())
        record["provenance"]["model"] |= NF4 if record["method"] == "qlora" else FULL
        file.write_text(json.dumps(record))
        if record["method"] == "qlora":
            kinds = ("nf4", "fp4", "int8")
            layers = [layer(f"model.layers.{i}.mlp.up_proj", 0.25 * i, kinds) for i in (0, 1)]
            layers.append(layer("model.layers.0.self_attn.q_proj", 0.5, kinds))
            (file.parent / "base_weights.json").write_text(json.dumps({"layers": layers}))
    return folder


def rows(folder, tmp_path):
    text = (build_report(folder, tmp_path / "reports") / "report.md").read_text()
    return [line.replace("\\", "") for line in text.splitlines()], text


def test_storage_and_normality(quantized, tmp_path):
    lines, text = rows(quantized, tmp_path)
    nf4 = "| qlora | nf4, constants quantized too | bfloat16 | 6.500 | 4.127, 80 % of the weights |"
    nf4 += " 4.2 GB |"
    assert nf4 in lines
    assert (
        "| lora | bfloat16 | bfloat16 | 16.000 | 16.000, 80 % of the weights | 14.0 GB |" in lines
    )
    assert "| up_proj, 2 | 128 | 12.5 % | 0.50 | 4.00 | 10.00 % | 10.00 % | 10.00 % |" in lines
    assert "| all, 3 | 192 | 25.0 % | 0.50 | 4.00 | 10.00 % | 10.00 % | 10.00 % |" in lines
    assert "Peak memory on a CPU is that of the whole process" in text
    page = (tmp_path / "reports" / "demo" / "index.html").read_text()
    assert "How the base was stored" in page


def test_nothing_of_it_where_nothing_was_quantized(report_folder):
    text = (report_folder / "report.md").read_text()
    assert "How the base was stored" not in text
    assert "before they were quantized" not in text
