"""`/openapi.json`: the endpoints as an OpenAPI document, from the table of routes and the docstrings of the handlers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from starlette.routing import BaseRoute, Route

from llamacli.openai.description import request_schemas
from llamacli.server.http.endpoint import Endpoint
from llamacli.server.http.exchange import Exchange
from llamacli.version import VERSION

PATH = "/openapi.json"

_ERROR = {
    "description": "The request failed; the document says why.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


def openapi(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return the document. Paths without `/v1` that are also there with it are left out."""
    schemas = request_schemas()
    paths: dict[str, dict[str, Any]] = {}
    found = [route for route in routes if isinstance(route, Route) and isinstance(route.endpoint, Endpoint)]
    known = {route.path for route in found}
    for route in found:
        if f"/v1{route.path}" not in known:
            path = re.sub(r":\w+}", "}", route.path)
            for method in (route.methods or set()) - {"HEAD"}:
                paths.setdefault(path, {})[method.lower()] = _operation(route, path, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "llamacli serve", "version": VERSION},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
        "paths": paths,
    }


def _operation(route: Route, path: str, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    endpoint: Any = route.endpoint
    summary = (inspect.getdoc(endpoint.handler) or "").partition("\n")[0].rstrip(".")
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "The answer."}, "4XX": _ERROR, "5XX": _ERROR},
    }
    names = re.findall(r"{(\w+)}", path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if path in schemas and method == "POST":
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[path]}}}
    return operation


class Description:
    """The endpoint of the document."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}

    async def openapi(self, exchange: Exchange) -> None:
        """Describe the endpoints."""
        await exchange.reply_json(self.document)
