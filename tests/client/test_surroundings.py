"""What surrounds a gate in a process: traces, forks, tasks, retries of the raw client, the guides' helper."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stacksona_adapters import (
    AsyncGateClient,
    ConfigurationError,
    Gate,
    GateClient,
    InvalidAction,
    Status,
    load_settings,
)
from stacksona_adapters.protocol.dialects import AgentDialect, V1Dialect, choose_dialect
from stacksona_adapters.testing.gate import RunningGate, running_gate
from tests.client.hostile import Reply, Seen, hostile_gate

RULES = [{"tool": "refund", "parameter": "amount", "type": "lower_limit", "value": 50, "outcome": "allow"}]


@pytest.fixture
def server() -> Iterator[RunningGate]:
    """A gate that allows refunds below 50."""
    with running_gate(rules=RULES) as gate:
        yield gate


@pytest.fixture(scope="module")
def spans() -> Iterator[InMemorySpanExporter]:
    """OpenTelemetry's SDK, active for this process (its exporter keeps the spans here)."""
    exporter = InMemorySpanExporter()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTEL_SDK_DISABLED", raising=False)
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        yield exporter


@pytest.mark.parametrize("asynchronous", [False, True])
def test_spans_and_trace_context(spans: InMemorySpanExporter, tmp_path: Path, asynchronous: bool) -> None:
    """A flow is a span, and its W3C trace context goes with each call, from either driver."""
    allowed = {"decision": "APPROVED", "reviewer_id": None, "audit_hash": "h"}

    def answer(seen: Seen) -> Reply:
        return Reply(201, {"task_id": "t"}) if seen.path == "/v1/tasks" else Reply(200, allowed)

    with hostile_gate(answer) as server, Gate("bot", url=server.url, api_key="sg_x", state_dir=tmp_path) as gate:
        action = gate.action("refund", {"amount": 1})
        spans.clear()
        if asynchronous:
            asyncio.run(gate.aio.authorize(action))
        else:
            gate.authorize(action)
        [span] = [span for span in spans.get_finished_spans() if span.name == "stacksona.authorize"]
        [asked] = server.calls("/v1/gate/decision")

    assert asked.headers["traceparent"].split("-")[1] == f"{span.context.trace_id:032x}"


def test_a_forked_child_has_its_own_connections(server: RunningGate) -> None:
    """After a fork both processes ask and report; neither disturbs the other."""
    script = """
import os, sys
from stacksona_adapters import Gate
gate = Gate("bot")
with gate.permit(gate.action("refund", {"amount": 1})):
    pass
child = os.fork()
with gate.permit(gate.action("refund", {"amount": 2})):
    pass
assert gate.flush(20)
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""
    env = {
        **os.environ,
        "STACKSONA_GATE_URL": server.url,
        "STACKSONA_API_KEY": server.agent_key("bot"),
        "STACKSONA_STATE_DIR": str(server.database.parent / "state"),
    }
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=env, check=True, timeout=60)

    assert server.service.verify_audit().broken is None


GUIDE = {
    "taskId": "task_9",
    "workflowName": "LlamaIndex Workflow",
    "taskLabel": "Refund",
    "toolName": "refund",
    "subject": "order 8821",
    "riskLevel": "high",
    "payload": {"amount": 20},
}


def test_the_guides_helper(server: RunningGate) -> None:
    """The camel-case names of the guide are accepted and sent in snake case, sync and async."""
    settings = load_settings(server.url, server.agent_key("bot"))
    client = GateClient(settings)

    async def ask() -> Status:
        raw = AsyncGateClient(settings)
        decision = await raw.request_decision({**GUIDE, "payload": {"amount": 100}})
        await raw.close()
        return decision.status

    decision = client.request_decision(GUIDE)
    client.close()

    assert (decision.status, decision.task_id) == (Status.ALLOW, "task_9")
    assert asyncio.run(ask()) is Status.PENDING_REVIEW


def test_the_guides_helper_names_what_is_missing(server: RunningGate) -> None:
    """A request without a tool is refused before it is sent."""
    client = GateClient(load_settings(server.url, server.agent_key("bot")))
    with pytest.raises(InvalidAction, match="tool_name"):
        client.request_decision({"subject": "x"})
    client.close()


def test_a_raw_call_without_a_key_is_not_repeated() -> None:
    """Only what carries an idempotency key may be sent twice."""
    with hostile_gate(lambda _: Reply(503, {}, headers={"Retry-After": "0"})) as server:
        client = GateClient(load_settings(server.url, "sg_x"))
        for key, expected in ((None, 1), ("key", 4)):
            server.seen.clear()
            with pytest.raises(Exception, match="nothing ran"):
                client.request_decision(GUIDE, key)
            assert len(server.seen) == expected
        client.close()


@pytest.mark.parametrize(
    ("name", "url", "kind"),
    [
        (None, "https://api.stacksona.com", V1Dialect),
        (None, "https://acme.stacksona.cloud", AgentDialect),
        (None, "https://stacksona.cloud.evil.example", V1Dialect),
        ("agent", "http://127.0.0.1:1", AgentDialect),
        ("v1", "https://acme.stacksona.cloud", V1Dialect),
    ],
)
def test_the_dialect_is_chosen(name: str | None, url: str, kind: type) -> None:
    """By argument, else by host."""
    assert isinstance(choose_dialect(name, url), kind)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "No gate URL"),
        ({"STACKSONA_GATE_URL": "gate.example"}, "not an http or https URL"),
        ({"STACKSONA_GATE_URL": "ftp://gate.example"}, "not an http or https URL"),
        ({"STACKSONA_GATE_URL": "http://g"}, "No API key"),
        ({"STACKSONA_GATE_URL": "http://g", "STACKSONA_API_KEY": "sg_\u00e4"}, "copy it again"),
        ({"STACKSONA_GATE_URL": "http://g", "STACKSONA_API_KEY": "k", "STACKSONA_DIALECT": "v2"}, "Unknown dialect"),
    ],
)
def test_settings_that_cannot_be_used(environ: dict[str, str], message: str) -> None:
    """Each mistake has its own sentence."""
    with pytest.raises(ConfigurationError, match=message):
        load_settings(environ=environ)


def test_settings_from_the_environment(tmp_path: Path) -> None:
    """URL, key, dialect and state directory are read from the environment; keywords go first."""
    environ = {
        "STACKSONA_GATE_URL": "http://gate.example/",
        "STACKSONA_API_KEY": " sg_1 ",
        "STACKSONA_DIALECT": "agent",
        "STACKSONA_STATE_DIR": str(tmp_path),
    }
    settings = load_settings(environ=environ)

    assert (settings.url, settings.api_key, settings.dialect.name) == ("http://gate.example", "sg_1", "agent")
    assert settings.state_dir == tmp_path
    assert load_settings("https://other.example", environ=environ).url == "https://other.example"
