"""What holds for every test process."""

from __future__ import annotations

import signal

# A shell that runs the suite in the background has it ignore Ctrl-C, and every process that a test starts would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
