"""The wire: models, canonical JSON and digest, status transitions, both dialects. Knows no network."""
