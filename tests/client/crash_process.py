"""A process that runs one gated refund and may kill itself at a chosen effect. Run by test_crashes.py."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from stacksona_adapters import ActionBlocked, Gate, ReviewPending
from stacksona_adapters.client.core import GateCore
from stacksona_adapters.gating.effects import Effect


class DyingCore(GateCore):
    """Kills this process before or after the n-th effect."""

    def __init__(self, core: GateCore, when: str, number: int) -> None:
        self.__dict__.update(core.__dict__)
        self._when, self._left = when, number

    def _perform(self, effect: Effect[Any]) -> Any:
        self._left -= 1
        if self._left == 0 and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = super()._perform(effect)
        if self._left == 0 and self._when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def main(ledger: str, amount: str, when: str, number: str) -> None:
    """Run the refund; append to the ledger when it really runs."""
    gate = Gate("bot", wait=0)
    gate._core = DyingCore(gate._core, when, int(number))
    action = gate.action("refund", {"amount": float(amount)}, run_id="run-1", call_id="call-1")
    try:
        with gate.permit(action):
            with Path(ledger).open("a", encoding="utf-8") as file:
                file.write(f"{amount}\n")
            if when == "during":
                os.kill(os.getpid(), signal.SIGKILL)
        print("ran")
    except ReviewPending as pending:
        print("pending", pending.decision.id)
    except ActionBlocked as blocked:
        print(type(blocked).__name__, blocked.decision_id)
    gate.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
