"""The reviewer's inbox: server-rendered pages with htmx, which comes with the package. No request goes elsewhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from stacksona_adapters.server.inbox import (
    admin,
    deliveries,
    exporting,
    figures,
    grants,
    listing,
    live,
    policies,
    requests,
    rules,
    signin,
)
from stacksona_adapters.server.inbox.templating import HERE
from stacksona_adapters.server.inbox.web import HEADERS, Site, page, redirect
from stacksona_adapters.server.service.errors import NotFound

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.inbox.web import Visit

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
_FOR_A_YEAR = "public, max-age=31536000, immutable"


def routes() -> list[BaseRoute]:
    """All pages of the inbox, under `/inbox`, and `/`, which leads there."""
    files = {path.name: path.read_bytes() for path in (HERE / "static").rglob("*.*") if path.suffix in _TYPES}
    site = Site({name: hashlib.sha256(content).hexdigest()[:12] for name, content in files.items()})

    async def static(request: Request) -> Response:
        """A file of the package."""
        name = str(request.path_params["name"])
        content = files.get(name)
        if content is None:
            return site.render("error.html", 404, {"status": 404, "detail": f"There is no file {name!r:.100}."})
        kind = _TYPES["." + name.rpartition(".")[2]]
        return Response(content, 200, {**HEADERS, "Cache-Control": _FOR_A_YEAR}, media_type=kind)

    async def home(request: Request) -> Response:
        return redirect("/inbox")

    return [
        Route("/", home, methods=["GET"], include_in_schema=False),
        Route("/inbox/static/{name}", static, methods=["GET"], include_in_schema=False),
        *signin.routes(site),
        *listing.routes(site),
        *requests.routes(site),
        *exporting.routes(site),
        *live.routes(site),
        *admin.routes(site),
        *rules.routes(site),
        *policies.routes(site),
        *deliveries.routes(site),
        *figures.routes(site),
        *grants.routes(site),
        page(site, "/inbox/{rest:path}", _nothing),
    ]


async def _nothing(visit: Visit) -> Response:
    raise NotFound(f"There is nothing at {visit.request.url.path!r:.200}.")
