"""A gated call as a generator of steps, and the two drivers that perform them: no method body exists twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

from langchain_core.runnables.config import RunnableConfig, run_in_executor

from stacksona_adapters.client.gate import AnyGate, AsyncGate, Gate
from stacksona_adapters.errors import StacksonaError

R = TypeVar("R")


class SyncIO:
    """What a step can do in synchronous code.

    Args:
        gate: The gate.
    """

    def __init__(self, gate: AnyGate) -> None:
        self.gate: Gate = gate.sync

    def call(
        self, plain: Callable[..., Any] | None, coroutine: Callable[..., Awaitable[Any]] | None, *args: Any
    ) -> Any:
        """Call the synchronous one of a pair."""
        if plain is None:
            raise TypeError("this is an asynchronous function: run the graph with ainvoke or astream")
        return plain(*args)


class AsyncIO:
    """What a step can do in asynchronous code.

    Args:
        gate: The gate.
        config: The config of the task, for its executor.
    """

    def __init__(self, gate: AnyGate, config: RunnableConfig | None) -> None:
        self.gate: AsyncGate = gate.aio
        self._config = config

    async def call(
        self, plain: Callable[..., Any] | None, coroutine: Callable[..., Awaitable[Any]] | None, *args: Any
    ) -> Any:
        """Call the asynchronous one of a pair; where there is none, the other one on a thread."""
        if coroutine is not None:
            return await coroutine(*args)
        if plain is None:
            raise TypeError("there is nothing to call")
        return await run_in_executor(self._config, plain, *args)


Step = Callable[[Any], Any]
"""Does one thing with a `SyncIO` or an `AsyncIO`; with the latter it returns an awaitable."""

Steps = Generator["Step | Sequence[Step]", Any, R]
"""A step is answered with its result, or its error is raised at the `yield`. A list of steps is performed together and
answered with a list of results, in which an error of this package stands in its place."""


def drive(gate: AnyGate, steps: Steps[R]) -> R:
    """Perform the steps in synchronous code."""
    io = SyncIO(gate)
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as stop:
            result: R = stop.value
            return result
        try:
            answer = step(io) if callable(step) else [_outcome(each, io) for each in step]
            error = None
        except BaseException as raised:  # noqa: BLE001 - raised again at the generator's yield
            error = raised


async def adrive(gate: AnyGate, steps: Steps[R], config: RunnableConfig | None = None) -> R:
    """Perform the steps in asynchronous code."""
    io = AsyncIO(gate, config)
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as stop:
            result: R = stop.value
            return result
        try:
            answer = await (step(io) if callable(step) else asyncio.gather(*(_aoutcome(each, io) for each in step)))
            error = None
        except BaseException as raised:  # noqa: BLE001 - raised again at the generator's yield
            error = raised


def _outcome(step: Step, io: SyncIO) -> Any:
    try:
        return step(io)
    except StacksonaError as error:
        return error


async def _aoutcome(step: Step, io: AsyncIO) -> Any:
    try:
        return await step(io)
    except StacksonaError as error:
        return error
