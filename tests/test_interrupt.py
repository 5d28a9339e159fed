from __future__ import annotations

import signal
import subprocess
import sys
import time

CHILD = """
import torch
from needlework.interrupt import exit_on_interrupt
exit_on_interrupt("Stopped. Go on with the same command.")
x = torch.randn(6000, 6000)
print("ready", flush=True)
while True:  # each product is one call that no Python signal handler can interrupt
    x @ x
"""


def test_ctrl_c_stops_within_a_second_in_the_middle_of_a_long_call() -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert time.perf_counter() - start < 1
    assert process.returncode == 130
    assert error.strip() == "Stopped. Go on with the same command."
