"""What ends together with a reviewer's token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacksona_adapters.server.service import approvals, decisions, grants, keys

if TYPE_CHECKING:
    from stacksona_adapters.server.service.context import Write


def revoke_reviewer(write: Write, which: str, *, by: str) -> int:
    """Revoke one token by its id, or every token of a reviewer by name, and what was permitted with it.

    Nobody knows which of a reviewer's grants, and of their approvals of what still waits for somebody else, were made
    by whoever had the token: all of them end. What was decided stays decided.

    Args:
        write: The transaction.
        which: A token's id, or a reviewer's name.
        by: Who revokes.

    Returns:
        How many tokens were revoked.

    Raises:
        NotFound: If there is no such token or reviewer.
        Conflict: If they were revoked before.
    """
    names = keys.reviewers_of(write, which)
    done = keys.revoke_reviewer(write, which, by=by)
    for name in names:
        grants.revoke_all(write, by, name)
        for decision_id in approvals.withdraw(write, name):
            row = decisions.get(write, decision_id)
            decisions.change(write, row, "decision.approval_withdrawn", {}, {"by": by, "reviewer": name})
    return done
