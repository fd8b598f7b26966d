"""The page `/docs`: the OpenAPI description as HTML, without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from elasticdenser.serving.pages import page_source

_Schema = Mapping[str, Any]

_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "const": "{}",
}
_MAX_CHOICES = 40
"""Values of a field that are listed; an encoder can have many subnets, which `GET /v1/models` lists."""


def docs_html(openapi: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI description."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    info = openapi["info"]
    parts = [
        f"<h1>API of {escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])} This page describes this server: its levels and models are listed.</p>",
        '<p><a href="openapi.json">openapi.json</a> holds the same for programs; <a href="./">search page</a>.</p>',
        _table(("Request", "Purpose"), ([_link(*operation[:2]), _text(operation[2])] for operation in operations)),
    ]
    prefix = next((server["url"] for server in openapi.get("servers", ())), "")
    for method, path, operation in operations:
        parts += _operation(method, path, operation, prefix)
    parts += _schemas(openapi["components"]["schemas"])
    return page_source("docs.html").replace("<!-- content -->", "\n".join(parts))


def _operation(method: str, path: str, operation: Mapping[str, Any], prefix: str) -> Iterator[str]:
    yield f'<h2 id="{_anchor(method, path)}"><code>{method} {escape(path)}</code></h2>'
    keys = {"key": "API key", "write_key": "write key"}
    needed = next((keys[name] for scheme in operation.get("security", ()) for name in scheme), None)
    needs_key = "" if needed is None else f" Needs the {needed}."
    yield f"<p>{_text(operation)}{needs_key}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        rows = ([_code(each["name"]), _type(each["schema"]), _text(each)] for each in parameters)
        yield _table(("Parameter", "Type", ""), rows)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        yield f"<p>Body, as JSON: {_type(body['schema'])}</p>"
        command = _curl(method, prefix + path, body["example"], "security" in operation)
        yield f"<pre>{escape(command)}</pre>"
    rows = ([status, _response(response)] for status, response in sorted(operation["responses"].items()))
    yield _table(("Status", "Meaning"), rows)


def _curl(method: str, path: str, example: Any, needs_key: bool) -> str:
    key = ' \\\n  -H "Authorization: Bearer $KEY"' if needs_key else ""
    # Where the page came from is not known here: a proxy may have changed the address.
    option = "" if method == "POST" else f"-X {method} "
    command = f'curl {option}"http://localhost:8000{path}" -H "Content-Type: application/json"{key} \\\n  -d '
    quoted = json.dumps(example).replace("'", "'\\''")
    return f"{command}'{quoted}'"


def _response(response: Mapping[str, Any]) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema")
    described = _text(response)
    return described if schema is None else f"{described} {_type(schema)}"


def _schemas(schemas: Mapping[str, _Schema]) -> Iterator[str]:
    yield "<h2>Types</h2>"
    for name, schema in schemas.items():
        if "properties" not in schema:
            continue
        yield f'<h3 id="type-{escape(name)}">{escape(name)}</h3>'
        yield f"<p>{_text(schema)}</p>"
        required, attributes = schema.get("required", []), _attributes(schema.get("description", ""))
        rows = (
            [_code(field), _type(of_field), _field_text(attributes.get(field, {}) | of_field, field in required)]
            for field, of_field in schema["properties"].items()
        )
        yield _table(("Field", "Type", ""), rows)


def _field_text(schema: _Schema, is_required: bool) -> str:
    default = schema.get("default")
    default_note = "" if default is None else f"Default: {_code(json.dumps(default))}."
    return " ".join(filter(None, (_text(schema), "Required." if is_required else default_note)))


def _type(schema: _Schema) -> str:
    """Return the values that a schema admits, in words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#type-{name}">{name}</a>'
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives:
        return " or ".join(dict.fromkeys(map(_type, alternatives)))
    if "enum" in schema:
        shown = [_code(json.dumps(value)) for value in schema["enum"][:_MAX_CHOICES]]
        return ", ".join(shown + ["..."] * (len(schema["enum"]) > _MAX_CHOICES))
    kind = schema.get("type", "any value")
    if kind == "array":
        kind = f"list of ({_type(schema.get('items', {}))})"
    limits = ", ".join(
        text.format(f"{schema[key]:,}" if isinstance(schema[key], int) else escape(str(schema[key])))
        for key, text in _LIMITS.items()
        if key in schema
    )
    return f"{kind}, {limits}" if limits else str(kind)


def _text(described: Mapping[str, Any]) -> str:
    """Return a description, with `code` in it as such; the first paragraph is enough of a docstring."""
    paragraphs = str(described.get("description", "")).split("\n\n")
    parts = escape(" ".join(paragraphs[0].split())).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _attributes(docstring: str) -> dict[str, dict[str, str]]:
    """Return the descriptions of the attributes that a docstring lists, as those of their schemas."""
    _, _, listed = docstring.partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, flags=re.MULTILINE)
    return {name: {"description": text} for name, text in found}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"


def _link(method: str, path: str) -> str:
    return f'<a href="#{_anchor(method, path)}"><code>{method} {escape(path)}</code></a>'


def _anchor(method: str, path: str) -> str:
    return "-".join([method.lower(), *filter(None, path.replace("{", "").replace("}", "").split("/"))])


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
