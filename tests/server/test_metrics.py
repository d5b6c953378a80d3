"""`/metrics`: what an operator watches, for those who may."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests.server.conftest import World, ask, assert_problem, consume, decide


def values(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and labels (in the order of their names)."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_gate_in_figures(world: World) -> None:
    """Decisions, waiting times, unknown outcomes, chains and requests are counted."""
    agent, reviewer = world.agent(), world.reviewer()
    first, second, _ = ask(agent, 1), ask(agent, 2), ask(agent, 3)
    world.advance(seconds=30)
    decide(reviewer, first)
    world.advance(seconds=60)
    decide(reviewer, second, "reject")
    consume(agent, first)
    world.service.checkpoint()

    found = values(reviewer.get("/metrics").text)

    assert found["stacksona_decisions", "pending_review"] == 1
    assert found["stacksona_decisions", "approved"] == 1
    assert found["stacksona_unknown_outcomes",] == 1
    assert found["stacksona_oldest_pending_seconds",] >= 90
    assert 30 <= found["stacksona_review_wait_seconds", "0.5"] <= 91
    assert found["stacksona_review_wait_seconds", "0.95"] >= 90
    assert found["stacksona_chains",] == 4  # three tasks and the gate's own
    assert found["stacksona_checkpoint",] == 1
    assert found["stacksona_http_requests_total", "POST", "/v1/gate/decision", "202"] == 3
    assert found["stacksona_webhooks", "dead"] == 0


def test_made_up_paths_make_no_labels(world: World) -> None:
    """Nobody fills the metrics with paths of their own."""
    for number in range(5):
        world.client().get(f"/made-up/{number}")
    text = world.reviewer().get("/metrics").text

    assert "made-up" not in text
    assert values(text)["stacksona_http_requests_total", "GET", "none", "404"] == 5


def test_metrics_need_a_token(world: World) -> None:
    """Nobody without a key, and no agent, reads them."""
    assert_problem(world.client().get("/metrics"), 401)
    assert_problem(world.agent().get("/metrics"), 403)


def test_metrics_can_be_opened(start: Callable[..., World]) -> None:
    """Where the operator says so, a scraper needs no token."""
    assert start(open_metrics=True).client().get("/metrics").status_code == 200
