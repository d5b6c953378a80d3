"""Executor agents whose functions and code ask the gate."""

from __future__ import annotations

import asyncio
import inspect
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from autogen import Agent, ConversableAgent, GroupChatManager, UserProxyAgent

from stacksona_adapters.autogen_classic import _calls as calls
from stacksona_adapters.autogen_classic._calls import Arguments, Message, Proposed
from stacksona_adapters.autogen_classic._code import EXECUTE_CODE, code_action, edited_blocks
from stacksona_adapters.autogen_classic._paused import ChatState, PausedChat
from stacksona_adapters.client.gate import AnyGate
from stacksona_adapters.client.permit import DEFAULT, Permit, Wait
from stacksona_adapters.errors import ConfigurationError, GateError, ReviewPending, StacksonaError
from stacksona_adapters.gating.prepare import Validate
from stacksona_adapters.gating.refusal import refusal
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools
from stacksona_adapters.protocol.canonical import idempotency_key
from stacksona_adapters.protocol.tasks import FrameworkOrigin


class _FailedResult(Exception):
    """Only makes the report say that the call failed."""


class GatedExecutor(ConversableAgent):  # type: ignore[misc]
    """A `ConversableAgent` that asks the gate before it runs a function or code.

    Args:
        name: The agent's name.
        *args: The other arguments of the agent.
        gate: The gate; either face.
        tools: Which functions are gated: `"all"`, their names, or a function of the name. Code is `execute_code`.
        risk: A level for every tool, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject (for every tool, or by tool name), or a function.
        wait: Seconds to wait for a person; 0 pauses at once, `None`: as long as the request lives. Where a chat cannot
            pause (in a group chat, for code, for the old `function_call`), 0 means `None`.
        run_id: Your own id of the first chat. A process that runs the same chat again finds its requests.
        **kwargs: The other arguments of the agent.

    Raises:
        ConfigurationError: If an argument makes no sense.
    """

    def __init__(
        self,
        name: str,
        *args: Any,
        gate: AnyGate,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        run_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, *args, **kwargs)
        self._gate = gate
        self._policy = ToolPolicy(tools, risk, subject)
        self._wait = gate.seconds(wait)
        self._run_id = run_id or _fresh()
        self._resumed: PausedChat | None = None
        self.replace_reply_func(ConversableAgent.generate_tool_calls_reply, GatedExecutor.generate_tool_calls_reply)
        later = GatedExecutor.a_generate_tool_calls_reply
        # Registered too, at the end: a synchronous chat refuses asynchronous functions that it was not told to ignore.
        self.register_reply([Agent, None], later, position=1000, ignore_async_in_sync_chat=True)
        self.replace_reply_func(ConversableAgent.a_generate_tool_calls_reply, later)

    def initiate_chat(self, recipient: ConversableAgent, *args: Any, run_id: str | None = None, **kwargs: Any) -> Any:
        """As the framework's own, and keep book of the run at the gate.

        Args:
            recipient: The other agent.
            *args: See `ConversableAgent.initiate_chat`.
            run_id: Your own id of the chat; a fresh one where it is `None` and the chat is not the first.
            **kwargs: See `ConversableAgent.initiate_chat`.

        Raises:
            PausedChat: If a call waits for a reviewer.
        """
        self._run_id = run_id or self._run_id
        with _Ended(self):
            return super().initiate_chat(recipient, *args, **kwargs)

    async def a_initiate_chat(
        self, recipient: ConversableAgent, *args: Any, run_id: str | None = None, **kwargs: Any
    ) -> Any:
        """See `initiate_chat`."""
        self._run_id = run_id or self._run_id
        with _Ended(self):
            return await super().a_initiate_chat(recipient, *args, **kwargs)

    def resume(self, paused: PausedChat, partner: ConversableAgent, *, silent: bool = False) -> list[Message]:
        """Go on with a paused chat, in this process or another one that has built the same agents.

        The gate is asked again about every call that waits. What was approved runs, once, with the approved arguments.

        Args:
            paused: The pause.
            partner: The agent that made the calls.
            silent: Whether the messages are printed.

        Returns:
            All messages of the chat.

        Raises:
            PausedChat: If a call still waits (calls that were decided have run) or a new one does; it replaces the old.
            GateError: If the gate cannot be asked and nothing was decided.
        """
        self._restore(paused, partner)
        with _Ended(self):
            _, reply = self.generate_tool_calls_reply(sender=partner)
            self.send(_answered(reply), partner, request_reply=True, silent=silent)
        return list(self.chat_messages[partner])

    async def a_resume(self, paused: PausedChat, partner: ConversableAgent, *, silent: bool = False) -> list[Message]:
        """See `resume`."""
        self._restore(paused, partner)
        with _Ended(self):
            _, reply = await self.a_generate_tool_calls_reply(sender=partner)
            await self.a_send(_answered(reply), partner, request_reply=True, silent=silent)
        return list(self.chat_messages[partner])

    def generate_tool_calls_reply(
        self, messages: list[Message] | None = None, sender: Agent | None = None, config: Any = None
    ) -> tuple[bool, Message | None]:
        """The framework's reply function for `tool_calls`, gated: all requests go out, then each call is decided."""
        batch = self._batch(messages, sender)
        gated = [call for call in batch if call.action is not None and call.text is None]
        asked = [asked for call in gated if (asked := self._ask_early(call, len(gated)))]
        try:
            errors = [self._perform(call, sender) for call in batch if call.text is None]
        except BaseException:
            for each in asked:
                self._gate.withdraw(each)
            raise
        return self._answer(batch, sender, errors)

    async def a_generate_tool_calls_reply(
        self, messages: list[Message] | None = None, sender: Agent | None = None, config: Any = None
    ) -> tuple[bool, Message | None]:
        """See `generate_tool_calls_reply`."""
        batch = self._batch(messages, sender)
        errors = await asyncio.gather(*(self._a_perform(call, sender) for call in batch if call.text is None))
        return self._answer(batch, sender, errors)

    def execute_function(self, func_call: Message, *args: Any, **kwargs: Any) -> tuple[bool, Message]:
        """Run a function that is called in the old way (`function_call`) or by hand; it waits where it has to."""
        call = self._alone(func_call)
        if call is None:
            return super().execute_function(func_call, *args, **kwargs)  # type: ignore[no-any-return]
        self._perform(call, None)
        return call.succeeded, {"name": call.name, "role": "function", "content": call.text or ""}

    async def a_execute_function(self, func_call: Message, *args: Any, **kwargs: Any) -> tuple[bool, Message]:
        """See `execute_function`."""
        call = self._alone(func_call)
        if call is None:
            return await super().a_execute_function(func_call, *args, **kwargs)  # type: ignore[no-any-return]
        await self._a_perform(call, None)
        return call.succeeded, {"name": call.name, "role": "function", "content": call.text or ""}

    def execute_code_blocks(self, code_blocks: list[tuple[str, str]]) -> Any:
        """Run code that the agent finds in a message, where it has no code executor of its own."""
        if not self._policy.covers(EXECUTE_CODE):
            return super().execute_code_blocks(code_blocks)
        blocks = [{"language": language, "code": code} for language, code in code_blocks]
        action = code_action(self._policy, blocks, run_id=self._run_id, **self._facts(None))
        try:
            with self._gate.sync.permit(action, wait=self._wait or None, validate=edited_blocks) as permit:
                approved = [(each["language"], each["code"]) for each in permit.arguments["code_blocks"]]
                return super().execute_code_blocks(approved)
        except StacksonaError as error:
            return 1, refusal(EXECUTE_CODE, error).as_text()

    def _perform(self, call: Proposed, sender: Agent | None) -> GateError | None:
        if call.action is None:
            call.text = self._ran(call.function_call)[1]["content"]
            return None
        gate = self._gate.sync
        try:
            with gate.permit(call.action, wait=self._patience(sender), validate=self._validate(call)) as permit:
                self._result(call, permit, self._ran(call.running(permit.arguments)))
        except _FailedResult:
            return None
        except StacksonaError as error:
            return self._stopped(call, error)
        return None

    async def _a_perform(self, call: Proposed, sender: Agent | None) -> GateError | None:
        if call.action is None:
            call.text = (await super().a_execute_function(call.function_call))[1]["content"]
            return None
        gate = self._gate.aio
        try:
            async with gate.permit(call.action, wait=self._patience(sender), validate=self._validate(call)) as permit:
                ran = await super().a_execute_function(call.running(permit.arguments))
                self._result(call, permit, ran)
        except _FailedResult:
            return None
        except StacksonaError as error:
            return self._stopped(call, error)
        return None

    def _ran(self, func_call: Message) -> tuple[bool, Message]:
        """Run a function on this thread; an asynchronous one on a loop of its own, also where one is running here."""
        function = self.function_map.get(str(func_call.get("name")))
        if not inspect.iscoroutinefunction(function):
            return super().execute_function(func_call)  # type: ignore[no-any-return]
        work = super().a_execute_function(func_call)
        with ThreadPoolExecutor(1) as thread:
            ran: tuple[bool, Message] = thread.submit(asyncio.run, work).result()
        return ran

    def _result(self, call: Proposed, permit: Permit, ran: tuple[bool, Message]) -> None:
        call.ran(ran[1]["content"], permit.approval)
        call.succeeded = ran[0]
        if not ran[0]:
            raise _FailedResult(ran[1]["content"])

    def _stopped(self, call: Proposed, error: StacksonaError) -> GateError | None:
        before = self._resumed.state.waiting.get(call.place) if self._resumed is not None else None
        if isinstance(error, ReviewPending):
            call.waiting = error.decision.id
        elif isinstance(error, GateError) and before is not None:
            call.waiting = before
            return error
        else:
            refused = refusal(call.name, error)
            call.text, call.decision_id = refused.as_text(), refused.decision_id
        return None

    def _ask_early(self, call: Proposed, count: int) -> Any:
        """Send a request out before the calls are decided one after the other; who waits for it asks again."""
        if count < 2 or call.action is None:
            return None
        try:
            return self._gate.sync.request(call.action)
        except StacksonaError:
            return None  # the same answer comes again when the call is performed

    def _batch(self, messages: list[Message] | None, sender: Agent | None) -> list[Proposed]:
        said = messages if messages is not None else self._said(sender)
        batch = calls.proposed(said)
        done = self._resumed.state.done if self._resumed is not None else {}
        for call in batch:
            call.text = done.get(call.place)
            if call.text is None:
                self._describe(call, said, sender)
        return batch

    def _describe(self, call: Proposed, said: list[Message], sender: Agent | None) -> None:
        function = self.function_map.get(call.name)
        if function is None or not self._policy.covers(call.name):
            return
        try:
            written = calls.parsed(call.function_call)
            reader = Arguments(function)
            read = reader.read(written)
        except ValueError as error:  # what the model wrote fits no function: nobody has to look at it
            call.text = f"Error: {error}"
            return
        what = idempotency_key("classic", call.name, json.dumps(written, sort_keys=True))[:32]
        number = calls.occurrence(said, call, written)
        action = self._policy.action(
            call.name,
            read,
            framework=FrameworkOrigin.AUTOGEN,
            run_id=self._run_id,
            run_label=f"AutoGen chat of {self.name}",
            call_id=f"{call.name}/{what}/{number}",
            arguments_schema=reader.schema,
            revises=calls.revises(said, call),
            **self._facts(sender),
        )
        call.action = action.model_copy(update={"attempt_id": uuid.uuid4().hex})

    def _alone(self, func_call: Message) -> Proposed | None:
        call = Proposed(0, None, func_call)
        said = [{"tool_calls": [{"function": func_call}]}]
        self._describe(call, said, None)
        if call.action is None and call.text is None:
            return None
        if call.action is not None:
            call.action = call.action.model_copy(update={"call_id": None})
        return call

    def _facts(self, sender: Agent | None) -> dict[str, Any]:
        members = sender.groupchat.agent_names if isinstance(sender, GroupChatManager) else []
        talks = [agent.name for agent in self.chat_messages]
        said = self._said(sender)
        context = {
            "agent": self.name,
            "participants": list(dict.fromkeys([self.name, *talks, *members])),
            "transcript_summary": calls.summary(said),
        }
        return {
            "context": context,
            "summary": (f"{self.name} wants to run a tool for {', '.join(talks) or 'a chat'}.",),
        }

    def _said(self, sender: Agent | None) -> list[Message]:
        said: list[Message] = self.chat_messages[sender] if sender is not None else []
        return said

    def _validate(self, call: Proposed) -> Validate:
        return Arguments(self.function_map[call.name]).read

    def _patience(self, sender: Agent | None) -> float | None:
        cannot_pause = sender is None or isinstance(sender, GroupChatManager)
        return None if self._wait == 0 and cannot_pause else self._wait

    def _answer(
        self, batch: list[Proposed], sender: Agent | None, errors: list[GateError | None]
    ) -> tuple[bool, Message | None]:
        resumed, self._resumed = self._resumed, None
        waiting = {call.place: call.waiting for call in batch if call.waiting is not None}
        if not waiting:
            return (True, calls.reply(batch)) if batch else (False, None)
        lost = [error for error in errors if error is not None]
        if resumed is not None and lost and waiting == resumed.state.waiting:
            raise lost[0]
        raise PausedChat(
            ChatState(
                run_id=self._run_id,
                messages=list(self._said(sender)),
                partner_messages=list(getattr(sender, "chat_messages", {}).get(self, [])),
                waiting=waiting,
                done={call.place: call.text for call in batch if call.text is not None},
                decisions=[call.decision_id for call in batch if call.decision_id is not None],
            )
        )

    def _restore(self, paused: PausedChat, partner: ConversableAgent) -> None:
        self._run_id = paused.state.run_id
        self._resumed = paused
        self.reply_at_receive[partner] = partner.reply_at_receive[self] = True  # as `initiate_chat` does
        self.chat_messages[partner][:] = [dict(message) for message in paused.state.messages]
        partner.chat_messages[self][:] = [dict(message) for message in paused.state.partner_messages]


class GatedUserProxyAgent(GatedExecutor, UserProxyAgent):  # type: ignore[misc]
    """A `UserProxyAgent` that asks the gate before it runs a function or code. Arguments as for `GatedExecutor`."""


class _Ended:
    """Reports the end of a run, and gives the agent a fresh one."""

    def __init__(self, agent: GatedExecutor) -> None:
        self._agent = agent

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PausedChat):
            return
        text = None if error is None else f"{type(error).__name__}: {error}"
        self._agent._gate.finish(self._agent._run_id, text)  # noqa: SLF001
        self._agent._run_id = _fresh()  # noqa: SLF001


def _answered(reply: Message | None) -> Message:
    if reply is None:
        raise ConfigurationError("The pause holds no call that could be continued.")
    return reply


def _fresh() -> str:
    return f"autogen_{uuid.uuid4().hex}"
