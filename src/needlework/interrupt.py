"""Ctrl-C that stops at once.

Python handles signals between bytecodes, and a backward pass is one call of many seconds. A thread that
waits on the signal's wake-up pipe needs no bytecode of the main thread. Leaving without cleaning up is
safe because every file is written under a temporary name first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

EXIT_CODE = 130


def exit_on_interrupt(message: str) -> None:
    """From now on, print the message and exit on Ctrl-C."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        while True:
            if signal.SIGINT in os.read(reader, 1):
                # Progress bars hide the cursor.
                sys.stderr.write(("\x1b[?25h" if sys.stderr.isatty() else "") + f"\n{message}\n")
                sys.stderr.flush()
                os._exit(EXIT_CODE)

    threading.Thread(target=watch, daemon=True).start()
