# SPDX-License-Identifier: BSD-2-Clause
"""What the figures were taken on, without names of hosts or paths, and how busy it was meanwhile."""
import os
import platform
import subprocess
from pathlib import Path

ISA = ("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd",
       "asimddp", "i8mm", "bf16")
TICKS = os.sysconf("SC_CLK_TCK")


def _first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout.splitlines() or [""])[0]
    except FileNotFoundError:
        return ""


def describe():
    model, flags = platform.machine(), set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    pages = pages.read_text() if pages.exists() else "[none]"
    return {"cpu": model, "cores": os.cpu_count(), "isa": [f for f in ISA if f in flags],
            "kernel": f"{platform.system()} {platform.release()}",
            "compilers": [v for v in (_first_line("gcc", "--version"), _first_line("clang", "--version"))
                          if v],
            "huge_pages": pages[pages.index("[") + 1:pages.index("]")],
            "python": platform.python_version()}


def cpu_seconds():
    """Time that all processors together were busy since the start of the system."""
    user, nice, system, _idle, _wait, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICKS


def process_cpu_seconds(pid):
    """Of one process with its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss(pid):
    """Bytes; 0 when the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
