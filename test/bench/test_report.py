# SPDX-License-Identifier: BSD-2-Clause
"""The report on made-up results: ratios, what is missing, what is wrong, the page's markers."""
import pytest
from bench import report


def point(engine, ms, model="wdsr2-x4", dtype="f32", threads=2, **more):
    return {"model": model, "size": "480x270", "dtype": dtype, "threads": threads, "engine": engine,
            "macs": 10 ** 9, "ms": ms, "ops_per_s": 2e12 / ms, "peak_rss_bytes": 50e6, "elsewhere": 0.0,
            **more}


def missing(engine, why, **more):
    p = point(engine, 1.0, **more)
    return {k: p[k] for k in ("model", "size", "dtype", "threads", "engine")} | {"missing": why}


@pytest.fixture
def result():
    peaks = [{"threads": 2, "fp32_ops_per_s": v, "int8_ops_per_s": 4 * v, "bf16_ops_per_s": None,
              "read_bytes_per_s": 3e10} for v in (180e9, 200e9, 210e9)]
    return {"machine": {"cpu": "Test CPU", "cores": 2, "isa": ["avx2"], "kernel": "Linux 1",
                        "huge_pages": "madvise", "compilers": ["cc 1"], "python": "3.11"},
            "versions": {"srplay": "0.1", "onednn": "2.6"}, "peaks": peaks,
            "points": [point("srplay", 20.0, arena_bytes=7e6),
                       point("onednn", 30.0, rms=1e-6), point("ncnn", 10.0, rms=0.5),
                       missing("mnn", "not installed: no module"),
                       missing("srplay", "no int8 here", dtype="int8"),
                       point("onednn", 8.0, dtype="int8", elsewhere=0.5)],
            "busy": [{"model": "wdsr2-x4", "dtype": "f32", "threads": 2, "engine": "srplay",
                      "calm_ms": 20.0, "busy_ms": 30.0, "factor": 1.5},
                     {"model": "wdsr2-x4", "dtype": "f32", "threads": 2, "engine": "mnn",
                      "missing": "not installed: no module"}]}


def row(text, *starts):
    """Cells of the only table row that begins with these cells."""
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()
            if line.startswith("| ")]
    found = [r for r in rows if r[:len(starts)] == list(starts)]
    assert len(found) == 1, (starts, found)
    return found[0]


def test_ratio_is_to_the_best_rival_that_is_right(result):
    lines = {(s["model"], s["dtype"]): s for s in report.summary(result)}
    f32, int8 = lines["wdsr2-x4", "f32"], lines["wdsr2-x4", "int8"]
    assert f32["best"]["engine"] == "onednn"  # ncnn is faster and wrong
    assert f32["ratio"] == pytest.approx(1.5)
    assert int8["ours"] is None and int8["ratio"] is None and int8["best"]["engine"] == "onednn"


def test_tables(result):
    text = report.markdown(result)
    assert row(text, "wdsr2-x4", "f32") == ["wdsr2-x4", "f32", "20.0", "30.0 oneDNN", "1.50"]
    assert row(text, "wdsr2-x4", "int8")[2:] == ["missing", "8.0 oneDNN", "-"]
    assert row(text, "f32", "srplay")[2:7] == ["20.0", "100", "50 %", "50", "7.0"]
    assert row(text, "int8", "oneDNN")[2].endswith("~")
    assert row(text, "f32", "ncnn")[-1] == "5.0e-01 **wrong**"
    assert row(text, "MNN", "f32")[2:] == ["all", "not installed: no module"]


def test_tile_products_have_a_column_where_there_are_any(result):
    head = ["threads", "f32 GFLOP/s", "int8 GOP/s"]
    assert row(report.markdown(result), *head)[3:] == ["bf16 GFLOP/s", "reading GB/s"]
    for p in result["peaks"]:
        p["int8_tile_ops_per_s"] = 3e12
    text = report.markdown(result)
    assert row(text, *head)[3:] == ["int8 tiles GOP/s", "bf16 GFLOP/s", "reading GB/s"]
    assert row(text, "2", "200 (180 to 210)")[3] == "3000 (3000 to 3000)"
    assert '"of peak" is of dot products' in text
    assert row(text, "srplay", "int8")[2:] == ["all", "no int8 here"]
    assert row(text, "ncnn", "f32")[2:] == ["wdsr2-x4", "wrong: relative error 0.5"]
    assert row(text, "srplay", "20.0 to 30.0: x1.50")
    assert "200 (180 to 210)" in text
    assert "Test CPU" in text and "oneDNN 2.6" in text


def test_nan_is_wrong(result):
    result["points"][1]["rms"] = float("nan")
    assert ("wdsr2-x4", "f32", "onednn") in report.wrong(result)


def test_page_keeps_what_is_around_the_tables(result, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\n## After\n")
    report.replace(page, report.markdown(result))
    text = page.read_text()
    assert text.startswith("# Title\n") and text.endswith("## After\n")
    assert "old" not in text and "oneDNN" in text
    report.replace(page, "new")
    assert page.read_text() == f"# Title\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\n## After\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="no markers"):
        report.replace(page, "new")
