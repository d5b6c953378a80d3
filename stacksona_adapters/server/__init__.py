"""The gate: an HTTP server, its use cases and its store. Imports `protocol` and never `client` or `gating`."""

from stacksona_adapters._extras import require

require("server")
