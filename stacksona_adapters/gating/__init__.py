"""The rules of the agent's side, pure: no network, no clock, no thread, no environment."""
