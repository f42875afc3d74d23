# SPDX-License-Identifier: BSD-2-Clause
"""Long commands run beside the tests, one after the other: most tests keep one core busy, and the machine has two.

A test marked `beside(COMMAND, ...)`, each a tuple of words, has the fixture `beside`: a function that waits for such a
command and gives its finished process. The first command begins when the tests are collected, and the tests that wait come
last. Commands stand still while a test runs that is marked `alone`: it measures time or plays in real time."""
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALONE = {"net", "player"}  # folders where every test is
TIMEOUT = 1800  # seconds; those of standing still count


def is_alone(item):
    return item.path.parent.name in ALONE or item.get_closest_marker("alone") is not None


class Beside:
    def __init__(self):
        self.worker = ThreadPoolExecutor(1)
        self.futures = {}  # of each command
        self.guard = threading.Lock()  # of the two below; held while the child stands still
        self.child = None  # what runs
        self.over = False

    def begin(self, command):
        if command not in self.futures:
            self.futures[command] = self.worker.submit(self._run, command)

    def result(self, command):
        """The finished process; raises what kept it from finishing."""
        return self.futures[command].result()

    @contextmanager
    def still(self):
        """Nothing runs beside this."""
        with self.guard:
            self._signal(signal.SIGSTOP)
            try:
                yield
            finally:
                self._signal(signal.SIGCONT)

    def end(self):
        """Kills what still runs, when nobody waits for it any more."""
        with self.guard:
            self.over = True
            self._signal(signal.SIGKILL)
        self.worker.shutdown(cancel_futures=True)

    def _run(self, command):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        with self.guard:
            if self.over:
                raise InterruptedError("the tests are over")
            child = self.child = subprocess.Popen(
                command, cwd=ROOT, env={**environment, "CMOCKA_MESSAGE_OUTPUT": "TAP"},
                process_group=0,  # with all that make starts
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="replace")
        try:
            stdout, stderr = child.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            child.communicate()
            raise
        finally:
            with self.guard:
                self.child = None
        return subprocess.CompletedProcess(command, child.returncode, stdout, stderr)

    def _signal(self, number):
        if self.child is not None:
            try:
                os.killpg(self.child.pid, number)
            except ProcessLookupError:  # it has just ended
                pass
