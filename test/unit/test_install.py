# SPDX-License-Identifier: BSD-2-Clause
"""`make install` gives a stranger all that is needed: headers, library, pkg-config, programs, models, man pages."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stage(tmp_path_factory, build):
    stage = tmp_path_factory.mktemp("stage")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    subprocess.run(["make", "install", f"DESTDIR={stage}", "PREFIX=/opt/srplay",
                    f"BUILD={build.relative_to(ROOT)}"],
                   cwd=ROOT, check=True, capture_output=True, env=environment)
    return stage / "opt/srplay"


def pkg_config(stage, *arguments):
    environment = {**os.environ, "PKG_CONFIG_PATH": str(stage / "lib/pkgconfig"),
                   "PKG_CONFIG_SYSROOT_DIR": str(stage.parent.parent)}
    return subprocess.run(["pkg-config", *arguments, "srp"], env=environment, check=True,
                          capture_output=True, text=True).stdout.split()


def test_example_compiles_and_runs(stage, tmp_path):
    program = tmp_path / "upscale"
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", str(ROOT / "docs/upscale.c"), "-o", program,
                    *pkg_config(stage, "--cflags", "--libs")], check=True)
    models = stage / "share/srplay/models"
    done = subprocess.run([program, models / "edge16-x4.json",
                           models / "general/edge16-x4.safetensors"], text=True, capture_output=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(stage / "lib")})
    assert done.returncode == 0, done.stderr
    name, size, luma = done.stdout.replace(":", ",").split(", ")
    assert (name, size) == ("edge16-x4", "256x192")
    # A grey picture stays grey.
    assert abs(int(luma.split()[1]) - 128) <= 2


@pytest.mark.parametrize("header", sorted(p.name for p in (ROOT / "runtime/include/srp").glob("*.h")))
@pytest.mark.parametrize("language", ["c", "c++"])
def test_header_stands_alone(stage, header, language):
    source = f"#include <srp/{header}>\nint main(void) {{ return 0; }}\n"
    subprocess.run(["cc", "-x", language, "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                    "-fsyntax-only", *pkg_config(stage, "--cflags"), "-"],
                   input=source, text=True, check=True)


def test_programs_and_manuals(stage):
    for name in ("srplay", "srbench", "srinfo", "srpack"):
        assert os.access(stage / "bin" / name, os.X_OK)
        page = stage / f"share/man/man1/{name}.1"
        assert page.read_text().startswith(".")
    for name in ("srplay", "srbench", "srinfo"):
        done = subprocess.run([stage / "bin" / name, "--version"], text=True, capture_output=True)
        assert done.returncode == 0 and "0.1.0" in done.stdout


def test_engine_is_measured_without_media_libraries(stage):
    """Their memory is several times the engine's; the commands that need them are another program."""
    def libraries(name):
        return subprocess.run(["ldd", stage / "bin" / name], text=True, check=True, capture_output=True).stdout
    assert "libavcodec" in libraries("srbench-media")
    assert "libavcodec" not in libraries("srbench") and "libSDL2" not in libraries("srbench")
    done = subprocess.run([stage / "bin/srbench", "play", "none.mp4"], text=True, capture_output=True)
    assert done.returncode != 0 and done.stderr.startswith("srbench:") and "none.mp4" in done.stderr


def test_exported_symbols(build):
    names = subprocess.run(["nm", "-D", "--defined-only", build / "libsrp.so"], text=True, check=True,
                           capture_output=True).stdout.split("\n")
    exported = [line.split()[2] for line in names if len(line.split()) == 3]
    assert exported
    assert [n for n in exported if not n.startswith("srp_")] == []
