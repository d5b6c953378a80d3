"""The end of a graph's run, as LangChain's callbacks tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphInterrupt

from stacksona_adapters.client.gate import AnyGate


class RunEvents(BaseCallbackHandler):
    """Reports TASK_COMPLETED when a run of a graph has ended and TASK_FAILED when it failed; a pause is neither.

    Use it as `graph.with_config(callbacks=[RunEvents(gate)])`, or among the callbacks of one call.

    Args:
        gate: The gate.
    """

    run_inline = True

    def __init__(self, gate: AnyGate) -> None:
        self._gate = gate
        self._roots: dict[UUID, UUID] = {}
        self._threads: dict[UUID, str] = {}
        self._paused: set[UUID] = set()

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember to which run this one belongs; see LangChain."""
        self._roots[run_id] = self._roots.get(parent_run_id, run_id) if parent_run_id else run_id
        if parent_run_id is None and metadata and metadata.get("thread_id") is not None:
            self._threads[run_id] = str(metadata["thread_id"])

    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """The outermost run has ended, or it paused; see LangChain."""
        self._end(run_id, parent_run_id, None)

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """A run failed, or paused; see LangChain."""
        if isinstance(error, GraphInterrupt) and run_id in self._roots:
            self._paused.add(self._roots[run_id])
        self._end(run_id, parent_run_id, f"{type(error).__name__}: {error}")

    def _end(self, run_id: UUID, parent_run_id: UUID | None, error: str | None) -> None:
        root = self._roots.pop(run_id, None)
        if parent_run_id is not None or root is None:
            return
        thread_id = self._threads.pop(root, None)
        was_paused = root in self._paused
        self._paused.discard(root)
        if thread_id is not None and not (was_paused and error is None):
            self._gate.finish(thread_id, error)
