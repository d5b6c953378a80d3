"""The OpenAPI document of the routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.reviews import PROBLEM_JSON, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stacksona_adapters.server.api.routes import Endpoint

_REF = "#/components/schemas/{model}"


def describe(document: dict[str, Any], endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Add routes to an OpenAPI document.

    Args:
        document: The document that FastAPI made.
        endpoints: The routes that FastAPI does not know.
    """
    models: set[type[BaseModel]] = {Problem, Decision, *(e.body for e in endpoints if e.body is not None)}
    models |= {m for e in endpoints for m in e.answers.values() if issubclass(m, BaseModel)}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for endpoint in endpoints:
        path = document.setdefault("paths", {}).setdefault(endpoint.path, {})
        path[endpoint.method.lower()] = _operation(endpoint)
    return document


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": (endpoint.handler.__doc__ or "").strip().splitlines()[0],
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()}{endpoint.path}").strip("_"),
        "parameters": _parameters(endpoint),
        "responses": {str(code): _answer(endpoint, model) for code, model in endpoint.answers.items()},
    }
    problem = {"schema": {"$ref": _REF.format(model="Problem")}}
    operation["responses"]["default"] = {"description": "Problem details.", "content": {PROBLEM_JSON: problem}}
    if endpoint.secured:
        operation["security"] = [{"bearer": []}]
    if endpoint.body is not None:
        schema = {"schema": {"$ref": _REF.format(model=endpoint.body.__name__)}}
        operation["requestBody"] = {"required": True, "content": {"application/json": schema}}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    text = {"schema": {"type": "string"}}
    in_path = [{"name": n, "in": "path", "required": True, **text} for n in re.findall(r"{(\w+)}", endpoint.path)]
    return in_path + [{"name": name, "in": "query", "required": False, **text} for name in endpoint.query]


def _answer(endpoint: Endpoint, model: type[Any]) -> dict[str, Any]:
    known = issubclass(model, BaseModel)
    schema = {"$ref": _REF.format(model=model.__name__)} if known else {"type": "object"}
    return {"description": "Done.", "content": {endpoint.media: {"schema": schema}}}
