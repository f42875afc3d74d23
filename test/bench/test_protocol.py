# SPDX-License-Identifier: BSD-2-Clause
"""The protocol of one engine's process, with PyTorch alone, and `make bench`'s program on it."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import rivals
from bench.__main__ import MODELS, parse, settings
from bench.rivals import Missing
from bench.workers import Case, Rival, Srplay
from conftest import BUILD, ROOT

GRAPH, SIZE = ROOT / "models" / "edge8-x2.json", "32x18"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    subprocess.run([sys.executable, "-m", "bench.prepare", GRAPH, SIZE,
                    folder / "models" / f"edge8-x2-{SIZE}"], check=True, env=ENVIRONMENT)
    return folder


def process_state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def case(work, dtype="f32", graph=GRAPH):
    folder = work / "models" / f"edge8-x2-{SIZE}"
    macs = json.loads((folder / "network.json").read_text())["macs"]
    return Case("edge8-x2", graph, SIZE, macs, dtype, 1, folder, work)


def test_one_line_of_json(work):
    done = subprocess.run([sys.executable, "-m", "bench.rival", "pytorch", "--model", GRAPH, "--size", SIZE,
                           "--dtype", "int8", "--seconds", "0.01", "--work", work], env=ENVIRONMENT,
                          stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    answer = json.loads(lines[0])
    assert len(lines) == 1 and answer["engine"] == "pytorch" and answer["version"]
    assert answer["ms"] and all(ms > 0 for ms in answer["ms"])
    assert answer["peak_rss_bytes"] > 1 << 20
    assert answer["rms"] < 0.08


def test_an_engine_that_is_missing_says_why(work, capfd):
    from bench import rival
    with pytest.raises(Missing, match="not installed"):
        rivals.load("no_such_engine")
    saved = os.dup(1), os.dup(2)
    try:
        code = rival.main(["mnn", "--model", str(GRAPH), "--size", SIZE, "--dtype", "bf16", "--work",
                           str(work)])
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
    answer = json.loads(capfd.readouterr().out)
    assert code == 0 and answer["engine"] == "mnn" and answer["missing"]


def test_served_bursts_and_check(work):
    worker = Rival("pytorch", case(work))
    try:
        burst = worker.burst(0.01)
        assert burst["runs"] >= 1 and 0 < burst["ms_min"] <= burst["ms"]
        assert worker.check() < 1e-5
        deadline = time.monotonic() + 30
        while process_state(worker.process.pid) != "T":  # stopped while others have their turn
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        worker.stop()


def test_a_c_program_that_is_not_built_or_fails_is_missing(work):
    with pytest.raises(Missing, match="xnnpack is not built"):
        Rival("xnnpack", case(work))
    program = work / "onednn"
    program.write_text("#!/bin/sh\necho first >&2\necho the last line >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(Missing, match=r"failed \(3\): the last line"):
        Rival("onednn", case(work))


def test_srplay_is_measured_by_srbench(work):
    worker = Srplay(BUILD / "srbench", case(work), 1e11)
    burst = worker.burst(0.01)
    assert burst["ms"] > 0 and burst["arena_bytes"] > 0 and burst["peak_rss_bytes"] > 0


def test_srbench_that_refuses_is_missing_with_its_line(work):
    with pytest.raises(Missing, match="none.json"):
        Srplay(BUILD / "srbench", case(work, graph=work / "none.json"), 1e11)


def test_settings():
    whole, quick = settings(parse([])), settings(parse(["--quick"]))
    assert whole.models == list(MODELS) and whole.own_parts and "srplay" in whole.engines
    assert len(quick.models) == 1 and not quick.own_parts
    part = settings(parse(["--only", "onednn,srplay", "--dtype", "int8", "--threads", "1", "--models",
                           "espcn-x2"]))
    assert (part.engines, part.dtypes, part.threads, part.models, part.own_parts) == (
        ["onednn", "srplay"], ["int8"], [1], ["espcn-x2"], False)
    for wrong in (["--only", "nobody"], ["--models", "none-x9"], ["--dtype", "f8"]):
        with pytest.raises(SystemExit):
            parse(wrong)


def test_quick_with_pytorch_alone(tmp_path):
    peak = {"threads": 1, "fp32_ops_per_s": 1e11, "int8_ops_per_s": 4e11, "bf16_ops_per_s": None,
            "read_bytes_per_s": 1e10}
    (tmp_path / "srbench").write_text(f"""#!/bin/sh
case $1 in
--version) echo srbench 0.0 ;;
peak) echo '{json.dumps(peak)}' ;;
*) exit 1 ;;
esac
""")
    (tmp_path / "srbench").chmod(0o755)
    done = subprocess.run([sys.executable, "-m", "bench", tmp_path, "--quick", "--only", "pytorch",
                           "--dtype", "f32", "--threads", "1"], env=ENVIRONMENT, capture_output=True,
                          text=True, check=True)
    result = json.loads((tmp_path / "bench" / "results.json").read_text())
    assert [p["engine"] for p in result["points"]] == ["pytorch"]
    assert result["points"][0]["rms"] < 1e-5
    assert result["peaks"] == [peak, peak]
    assert "### srplay against the best rival" in done.stdout
