"""The OpenAPI 3.1 document, made of the table of routes and the models that check and answer.

A route that is served is in it, with every parameter, body, answer and error; nothing else is.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from etb_appservice.gateway.links import PREFIXES, Links
from etb_appservice.gateway.objects import Error, Invalid
from etb_appservice.gateway.table import MOST_KEY, Bytes, Nothing, Route
from etb_appservice.gateway.uploads import FORM

_REF = "#/components/schemas/{model}"
_ANYWHERE = (401, 403, 429, 500, 503)
"""What the frame may answer to any request."""
_WITH_BODY = (400, 408, 413, 415)
_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_HEADERS: Mapping[int, tuple[str, str, str]] = {
    401: ("WWW-Authenticate", "string", "`Token`"),
    429: ("Retry-After", "integer", "Seconds to wait."),
    503: ("Retry-After", "integer", "Seconds to wait, where that is known."),
}
_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Within a day the same caller's same key, sent for the same thing, answers the first result.",
    "schema": {"type": "string", "maxLength": MOST_KEY},
}
_ABOUT = """\
The chat API of ETB's war rooms, served by etb-appservice.

Paths have a trailing slash and work without it. What the caller may not know of is `404`, as what isn't there.
Each answer that is no success holds `detail`, for a person, and `code`, for a machine; a `400` about fields holds
messages by field instead."""


def document(routes: Sequence[Route], links: Links) -> dict[str, Any]:
    """The document as seen under one prefix, which is its first server."""
    prefixes = [links.prefix, *(one for one in PREFIXES if one != links.prefix)]
    used: set[tuple[type[BaseModel], JsonSchemaMode]] = {(Error, "serialization"), (Invalid, "serialization")}
    for route in routes:
        used |= {(model, "serialization") for model in route.answers.values() if model not in {Bytes, Nothing}}
        if route.takes_body:
            used.add((route.body, "validation"))
        if route.form is not None:
            used.add((route.form, "validation"))
    ordered = sorted(used, key=lambda one: (one[0].__name__, one[1]))
    named, definitions = models_json_schema(ordered, ref_template=_REF)
    # Only models of ours go in; pydantic's own type also allows its dataclasses.
    names = {(model, mode): schema for (model, mode), schema in named.items() if issubclass(model, BaseModel)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        place = paths.setdefault(f"/{route.path}", {})
        place[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ETB war rooms",
            "version": version("etb-appservice"),
            "summary": "War rooms, their messages, files, commands and bots.",
            "description": _ABOUT,
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": f"{links.origin}{prefix.rstrip('/')}"} for prefix in prefixes],
        "security": [{"token": []}, {"bearer": []}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(route) for route in routes)],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token <key>`: an ETB user's own token.",
                },
                "bearer": {"type": "http", "scheme": "bearer", "description": "The same, as `Bearer <key>`."},
            },
        },
    }


_Names = Mapping[tuple[type[BaseModel], JsonSchemaMode], dict[str, Any]]


def _operation(route: Route, names: _Names) -> dict[str, Any]:
    parameters = [*_path_parameters(route.path), *_query_parameters(route.query)]
    if route.takes_key:
        parameters.append(_KEY)
    responses = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": _BYTES if model is Bytes else _content(names[model, "serialization"]),
        }
        for status, model in route.answers.items()
        if model is not Nothing
    }
    responses |= {
        str(status): {"description": HTTPStatus(status).phrase}
        for status, model in route.answers.items()
        if model is Nothing
    }
    for status in statuses(route):
        error = names[Error, "serialization"]
        is_input = status == HTTPStatus.BAD_REQUEST
        schema = {"anyOf": [names[Invalid, "serialization"], error]} if is_input else error
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": _content(schema)}
        if status in _HEADERS:
            name, kind, says = _HEADERS[status]
            responses[str(status)]["headers"] = {name: {"schema": {"type": kind}, "description": says}}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_tag(route)],
        "responses": dict(sorted(responses.items())),
    }
    if route.details:
        operation["description"] = route.details
    if parameters:
        operation["parameters"] = parameters
    if route.takes_body:
        schema = names[route.body, "validation"]
        is_needed = any(info.is_required() for info in route.body.model_fields.values())
        operation["requestBody"] = {"required": is_needed, "content": _content(schema)}
    if route.form is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {FORM: {"schema": names[route.form, "validation"]}},
        }
    return operation


def statuses(route: Route) -> list[int]:
    """Every status of a route that is no success."""
    found = {*_ANYWHERE, *route.errors}
    if route.takes_body or route.form is not None:
        found |= set(_WITH_BODY)
    if route.query.model_fields or route.takes_key:
        found.add(400)
    if "page" in route.query.model_fields or "{" in route.path:
        found.add(404)
    return sorted(found)


def _content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _tag(route: Route) -> str:
    return route.path.partition("/")[0]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "format": "uuid"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema} for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    found = model.model_json_schema(mode="validation")
    needed = found.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in needed,
            "allowEmptyValue": True,
            "description": schema.get("description", ""),
            "schema": _without_null(schema),
        }
        for name, schema in found.get("properties", {}).items()
    ]


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that may be absent is never null."""
    kept = {name: value for name, value in schema.items() if name not in {"title", "description", "anyOf"}}
    if kept.get("default", "") is None:
        del kept["default"]
    kinds = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    return kept | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
