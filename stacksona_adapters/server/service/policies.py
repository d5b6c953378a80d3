"""Policies: who may decide on which requests, and how many must approve.

Every policy that matches a request holds: who decides must be permitted by each of them, and the greatest number of
approvals is needed. A reviewer who owns a key of the request's agent never decides on it, policy or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import delete, func, insert, select

from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.server.service import accounts, journal
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import Conflict, NotFound, NotPermitted, invalid, unusable
from stacksona_adapters.server.service.tokens import new_id
from stacksona_adapters.server.store.policy_tables import policies
from stacksona_adapters.server.store.tables import agent_keys, reviewers

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write

MOST_APPROVALS = 5
"""The most people whose approval a policy can ask for."""

MOST = 100
"""How many policies a gate keeps."""

ROLE = "role:"
"""Begins an entry of `deciders` that stands for everybody with a role."""

_MOST_NAMED = 10


class NewPolicy(BaseModel):
    """A policy to add.

    Attributes:
        agent: An agent's name (of its key, or as its requests say), or `*`.
        tool: The action's name, or `*`.
        risks: The risks of requests that it is about; empty for any.
        deciders: Names of reviewers, and `role:admin` or `role:reviewer`; empty for everybody whose role decides.
        approvals: How many of them must approve.
    """

    model_config = ConfigDict(extra="forbid")

    agent: str = Field(default="*", min_length=1, max_length=200)
    tool: str = Field(default="*", min_length=1, max_length=200)
    risks: list[Risk] = Field(default_factory=list)
    deciders: list[str] = Field(default_factory=list, max_length=100)
    approvals: int = Field(default=1, ge=1, le=MOST_APPROVALS, strict=True)

    @field_validator("risks", "deciders")
    @classmethod
    def _once(cls, listed: list[Any]) -> list[Any]:
        return list(dict.fromkeys(listed))


@dataclass(frozen=True)
class Policy:
    """A policy that the gate keeps; the attributes are those of `NewPolicy`, and who added it when."""

    id: str
    agent: str
    tool: str
    risks: tuple[Risk, ...]
    deciders: tuple[str, ...]
    approvals: int
    created_at: datetime
    created_by: str

    def matches(self, agents: tuple[str, ...], tool: str, risk: Risk) -> bool:
        """Whether it is about a request of an agent (by any of its names) for a tool."""
        about = self.agent in ("*", *agents) and self.tool in ("*", tool)
        return about and (not self.risks or risk in self.risks)

    def permits(self, reviewer: str, role: Role) -> bool:
        """Whether it lets a reviewer decide."""
        named = [entry for entry in self.deciders if not entry.startswith(ROLE)]
        return role.decides and (not self.deciders or reviewer in named or f"{ROLE}{role}" in self.deciders)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        about = {"id": self.id, "agent": self.agent, "tool": self.tool, "risks": [risk.value for risk in self.risks]}
        return {**about, "deciders": list(self.deciders), "approvals": self.approvals, "created_by": self.created_by}


@dataclass(frozen=True)
class Requirement:
    """What all policies about a request ask for together."""

    policies: tuple[Policy, ...] = ()

    @property
    def approvals(self) -> int:
        """How many reviewers must approve."""
        return max((policy.approvals for policy in self.policies), default=1)

    def permits(self, reviewer: str, role: Role) -> bool:
        """Whether a reviewer with this role may decide."""
        return role.decides and all(policy.permits(reviewer, role) for policy in self.policies)


def requirement(read: Read, *, agent: str, label: str, tool: str, risk: Risk | str) -> Requirement:
    """What holds for a request.

    Args:
        read: The transaction.
        agent: The name of the key's agent.
        label: The agent's name as the request says it.
        tool: The action's name.
        risk: The request's risk.
    """
    return _asked_by(list_policies(read), (agent, label), tool, Risk(risk))


def _asked_by(every: Iterable[Policy], agents: tuple[str, ...], tool: str, risk: Risk) -> Requirement:
    return Requirement(tuple(policy for policy in every if policy.matches(agents, tool, risk)))


def of_rows(read: Read, rows: Iterable[Row[Any]]) -> list[Requirement]:
    """What holds for each of these rows of `decisions`."""
    every = list_policies(read)
    return [_asked_by(every, (row.agent, row.label), row.action, Risk(row.risk)) for row in rows]


@dataclass(frozen=True)
class People:
    """The active reviewers with their roles, and those who own, or owned, a key of each agent."""

    roles: Mapping[str, Role]
    owners: Mapping[str, frozenset[str]]

    def able(self, agent: str, needs: Requirement) -> list[str]:
        """Who may decide on a request of a key's agent."""
        out = self.owners.get(agent, frozenset())
        return [name for name, role in self.roles.items() if name not in out and needs.permits(name, role)]


def people(read: Read) -> People:
    """Who there is to decide."""
    query = select(agent_keys.c.agent, agent_keys.c.owner).where(agent_keys.c.owner.is_not(None))
    owners: dict[str, set[str]] = {}
    for agent, owner in read.connection.execute(query):
        owners.setdefault(agent, set()).add(owner)
    return People(accounts.everybody(read), {agent: frozenset(names) for agent, names in owners.items()})


def check_may_decide(read: Read, row: Row[Any], reviewer: str) -> Requirement:
    """Refuse a reviewer who may not decide on a request, nor settle its outcome.

    Args:
        read: The transaction; of the writing one, so that nothing changes in between.
        row: The request's row of `decisions`.
        reviewer: Who wants to decide.

    Returns:
        What holds for the request.

    Raises:
        NotPermitted: If the role, a policy, or a key of their own forbids it; the text says who may.
    """
    (needs,) = of_rows(read, [row])
    why = why_not(read, row, reviewer, needs)
    if why is not None:
        raise NotPermitted(why, decision_id=row.decision_id)
    return needs


def why_not(read: Read, row: Row[Any], reviewer: str, needs: Requirement) -> str | None:
    """Why a reviewer may not decide on a request, and who may; `None` where they may."""
    present = people(read)
    role = present.roles.get(reviewer)
    if role is None:  # revoked since the session or token was looked at
        return "Only a reviewer who can sign in decides."
    if not role.decides:
        return "An auditor reads and does not decide."
    left = present.able(row.agent, needs)
    if reviewer in present.owners.get(row.agent, ()):
        why = f"A key of the agent {row.agent} is or was yours, and nobody decides on requests of their own key."
        return f"{why} {named(left)} may." if left else f"{why} As things are, nobody may."
    against = next((policy for policy in needs.policies if not policy.permits(reviewer, role)), None)
    if against is None:
        return None
    if not left:
        return f"As things are, nobody may decide on it (policy {against.id})."
    return f"Only {named(left)} may decide on it (policy {against.id})."


def named(names: Iterable[str], last: str = "or") -> str:
    """Some names in a sentence."""
    listed = list(names)
    if len(listed) > _MOST_NAMED:
        listed = [*listed[:_MOST_NAMED], f"{len(listed) - _MOST_NAMED} more"]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} {last} {listed[-1]}"


def list_policies(read: Read) -> list[Policy]:
    """Every policy, oldest first."""
    rows = read.connection.execute(select(policies).order_by(policies.c.number))
    return [
        Policy(
            id=row.id,
            agent=row.agent,
            tool=row.tool,
            risks=tuple(Risk(risk) for risk in json.loads(row.risks)),
            deciders=tuple(json.loads(row.deciders)),
            approvals=row.approvals,
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]


def checked(read: Read, fields: Mapping[str, Any]) -> NewPolicy:
    """A policy out of untrusted fields.

    Raises:
        Invalid: For a missing, unknown or wrong field, a decider who is none, or a policy that asks for nothing.
    """
    try:
        policy = NewPolicy.model_validate(dict(fields))
    except ValidationError as error:
        raise unusable("The policy", error) from error
    for entry in policy.deciders:
        _check_decider(read, entry)
    by_name = not any(entry.startswith(ROLE) for entry in policy.deciders)
    if policy.deciders and by_name and policy.approvals > len(policy.deciders):
        raise invalid("/approvals", f"{policy.approvals} cannot be given by {len(policy.deciders)} deciders")
    if not policy.deciders and policy.approvals == 1:
        raise invalid("/deciders", "name some, or ask for more than one approval: so it changes nothing")
    return policy


def _check_decider(read: Read, entry: str) -> None:
    if entry.startswith(ROLE):
        possible = [f"{ROLE}{role}" for role in Role if role.decides]
        if entry not in possible:
            raise invalid("/deciders", f"{entry!r:.200} is no role that decides; there are {' and '.join(possible)}")
        return
    if read.connection.execute(select(reviewers.c.name).where(reviewers.c.name == entry)).first() is None:
        raise invalid("/deciders", f"there is no reviewer {entry!r:.200}")
    if not accounts.active(read, entry):
        raise invalid("/deciders", f"{entry!r:.200} is revoked and can no longer sign in")
    if not accounts.role_of(read, entry).decides:
        raise invalid("/deciders", f"{entry!r:.200} is an auditor, who does not decide")


def add(write: Write, fields: Mapping[str, Any], *, by: str) -> Policy:
    """Add a policy; it holds at once, for requests that wait too.

    Args:
        write: The transaction.
        fields: Those of `NewPolicy`.
        by: Who adds it.

    Raises:
        Invalid: If it cannot be used.
        Conflict: If there are too many.
    """
    policy = checked(write, fields)
    if write.connection.execute(select(func.count()).select_from(policies)).scalar_one() >= MOST:
        raise Conflict(f"There are {MOST} policies; remove one first.")
    values: dict[str, Any] = {**policy.model_dump(mode="json"), "id": new_id("pol")}
    values |= {"created_at": write.now, "created_by": by}
    kept = {**values, "risks": json.dumps(values["risks"]), "deciders": json.dumps(values["deciders"])}
    write.connection.execute(insert(policies), kept)
    made = Policy(**{**values, "risks": tuple(policy.risks), "deciders": tuple(policy.deciders)})
    journal.record(write, by, "policy.added", {"policy": made.as_dict()})
    return made


def remove(write: Write, policy_id: str, *, by: str) -> None:
    """Remove a policy. What waits is decided by those that are left, and nothing is approved by it alone.

    Args:
        write: The transaction.
        policy_id: Which one.
        by: Who removes it.

    Raises:
        NotFound: If there is none with that id.
    """
    gone = next((policy for policy in list_policies(write) if policy.id == policy_id), None)
    if gone is None:
        raise NotFound(f"There is no policy {policy_id!r:.200}.")
    write.connection.execute(delete(policies).where(policies.c.id == policy_id))
    journal.record(write, by, "policy.removed", {"policy": gone.as_dict()})


@dataclass(frozen=True)
class Gap:
    """Requests that nobody can approve as things are.

    Attributes:
        policies: The ids of the policies that together leave too few; none where it is the key's owner alone.
        agent: The agent whose requests these are; `*` for any.
        needed: How many approvals are needed.
        able: Who may decide.
    """

    policies: tuple[str, ...]
    agent: str
    needed: int
    able: tuple[str, ...]

    def __str__(self) -> str:
        about = f"the policy {self.policies[0]} is about" if self.policies else ""
        if len(self.policies) > 1:
            about = f"the policies {' and '.join(self.policies)} are about together"
        whose = "" if self.agent == "*" else f"requests of {self.agent}"
        what = f"{whose} that {about}" if whose and about else whose or f"what {about}"
        return f"nobody can approve {what}: {too_few(self.needed, self.able)}"


def too_few(needed: int, left: Iterable[str]) -> str:
    """That there are fewer reviewers who may decide than approvals are needed."""
    names = list(left)
    wanted = "1 approval is" if needed == 1 else f"{needed} approvals are"
    who = f"only {named(names, 'and')}" if names else "nobody"
    return f"{wanted} needed, and {who} may decide"


def gaps(read: Read) -> list[Gap]:
    """Where the policies, alone or two together, and the owners of keys leave too few who may decide."""
    every, present = list_policies(read), people(read)
    able = {p.id: frozenset(present.able("", Requirement((p,)))) for p in every}
    deciding = frozenset(present.able("", Requirement()))
    found: list[Gap] = []
    for group, agent in _places(every, list(present.owners)):
        ids = tuple(policy.id for policy in group)
        if any(set(gap.policies) <= set(ids) and gap.agent in ("*", agent) for gap in found):
            continue
        left = deciding.intersection(*(able[each] for each in ids)) - present.owners.get(agent, frozenset())
        needed = Requirement(group).approvals
        if len(left) < needed:
            found.append(Gap(ids, agent, needed, tuple(sorted(left))))
    return found


def _places(every: list[Policy], owned: list[str]) -> Iterator[tuple[tuple[Policy, ...], str]]:
    """Policies that can hold for one request, and whose request that may be."""
    yield from (((), agent) for agent in owned)
    for group in ((policy,) for policy in every):
        yield from ((group, agent) for agent in _agents(group, owned))
    for pair in combinations(every, 2):
        if _meet(*pair):
            yield from ((pair, agent) for agent in _agents(pair, owned))


def _agents(group: tuple[Policy, ...], owned: list[str]) -> list[str]:
    names = [policy.agent for policy in group if policy.agent != "*"]
    return names[:1] or ["*", *owned]


def _meet(one: Policy, other: Policy) -> bool:
    agents = "*" in (one.agent, other.agent) or one.agent == other.agent
    tools = "*" in (one.tool, other.tool) or one.tool == other.tool
    return agents and tools and (not one.risks or not other.risks or not set(one.risks).isdisjoint(other.risks))
