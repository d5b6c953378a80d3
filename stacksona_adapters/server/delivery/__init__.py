"""What the gate sends out by itself: signed webhooks to agents, and notifications to people.

Nothing here runs inside of a request or a transaction: rows that a decision's own transaction wrote are claimed, sent
and marked by a worker.
"""
