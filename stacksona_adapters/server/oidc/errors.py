"""Why nobody was signed in."""

from __future__ import annotations


class ProviderUnavailable(Exception):
    """The provider cannot be reached, or what answers is none. The text is for the log."""


class NotBelieved(Exception):
    """What the provider, or the browser in its name, said does not hold. The text is for the log."""
