"""The contract, for agents and for plain workflows of LlamaIndex."""

from __future__ import annotations

from stacksona_adapters.testing.contract import AdapterContract
from tests.adapters.llamaindex_harness import AgentHarness, WorkflowHarness


class TestAgents(AdapterContract):
    """`GatedAgentWorkflow` and `gated_tools`."""

    harness = AgentHarness()


class TestWorkflows(AdapterContract):
    """`GatedWorkflow`."""

    harness = WorkflowHarness()
