"""Signing in to the inbox at an OpenID Connect provider."""
