"""One demonstration: a fresh gate with rules, the agent at work, and what it all came to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, OnProgress, RowResult, Runner
from stacksona_adapters.demo.script import Decide, script_for
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.local import Place, Served, serving_or_joined
from stacksona_adapters.protocol.reviews import Folder
from stacksona_adapters.server.service import decisions, rules_file
from stacksona_adapters.server.service.errors import Conflict

if TYPE_CHECKING:
    from stacksona_adapters.server.service.records import Verified

_FLUSH = 20.0


@dataclass(frozen=True)
class Outcome:
    """What the gate says of a request: the decision in words, and who or what decided."""

    status: str
    decided_by: str | None


@dataclass
class Session:
    """A running demonstration.

    Attributes:
        url: The gate's base URL.
        sign_in_link: Opens the inbox, signed in.
        token: The reviewer's token.
        shop: Whose money it is.
    """

    url: str
    sign_in_link: str
    token: str
    gate: Gate
    reviewer: Reviewer
    served: Served
    shop: Shop = field(default_factory=Shop)

    def work(
        self, runner: Runner, rows: Sequence[RefundRequest], on_progress: OnProgress, decide: Decide | None
    ) -> list[RowResult]:
        """Let the agent work through the requests.

        Args:
            runner: The framework's runner.
            rows: The requests.
            on_progress: Told of each request as it is done.
            decide: How the scripted reviewer decides; a person does where it is `None`.
        """
        with ExitStack() as stack:
            if decide is not None:
                stack.enter_context(self.reviewer.deciding(script_for(decide)))
            return asyncio.run(_until_done(runner, self.gate, rows, on_progress, self.shop))

    def pending(self) -> list[str]:
        """The ids of the requests that wait for a reviewer."""
        folders = (Folder.NEW, Folder.REVIEWING)
        return [review.decision_id for folder in folders for review in self.reviewer.client.reviews(folder)]

    def withdraw_rest(self) -> None:
        """After an interruption: withdraw the requests that were on their way to the gate when it came."""
        self.gate.flush(_FLUSH)
        for decision_id in self.pending():
            with suppress(Conflict):  # a reviewer was faster
                self.served.service.write(partial(decisions.cancel, agent=AGENT, decision_id=decision_id))

    def outcome(self, result: RowResult) -> Outcome:
        """What the gate says of a result."""
        if result.decision_id is None:
            return Outcome("not asked", None)
        review = self.reviewer.detail(result.decision_id)
        edited = ", edited" if review.edited_arguments is not None else ""
        used = ", used" if result.receipt is None and review.consumed_at is not None else ""
        rule = described(review.rule)
        return Outcome(f"{review.status}{edited}{used}", review.reviewer_id or (f"rule: {rule}" if rule else None))

    def verify(self) -> Verified:
        """Check the audit chain, after all that was reported has arrived."""
        self.gate.flush(_FLUSH)
        return self.served.service.verify_audit()


async def _until_done(
    runner: Runner, gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop
) -> list[RowResult]:
    return await runner(gate, rows, on_progress, shop)


def described(rule: dict[str, Any] | None) -> str | None:
    """A rule in a few words."""
    if rule is None:
        return None
    words = {"upper_limit": "above", "lower_limit": "below", "between": "from"}
    limit = f"{rule['value']} to {rule['value2']}" if rule.get("value2") is not None else str(rule.get("value"))
    kind = str(rule.get("type"))
    return f"{rule.get('parameter')} {words.get(kind, kind)} {limit}"


@contextmanager
def session(directory: Path) -> Iterator[Session]:
    """A fresh gate in a directory, with the demo's rules, an agent and a reviewer.

    Args:
        directory: An empty directory; the gate's database and the agent's waiting events go there.
    """
    place = Place(directory / "gate.db")
    with serving_or_joined(place) as served:
        with resources.as_file(resources.files("stacksona_adapters.demo").joinpath("rules.toml")) as path:
            served.service.load_rules(rules_file.read(path), replace=True)
        key, token = place.agent_key(served.service, AGENT), place.reviewer_token(served.service)
        with (
            Reviewer(served.url, token) as reviewer,
            Gate(AGENT, url=served.url, api_key=key, state_dir=directory / "state") as gate,
        ):
            yield Session(served.url, place.sign_in_link(served), token, gate, reviewer, served)
