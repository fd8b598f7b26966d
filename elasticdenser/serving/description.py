"""Description of the API of one index, as OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elasticdenser.serving import embeddings, models
from elasticdenser.serving.middleware import AUTHENTICATED_PATHS, WRITING_PATHS
from elasticdenser.serving.service import Service


def with_server_details(openapi: dict[str, Any], service: Service, answering: Sequence[Service]) -> dict[str, Any]:
    """Add to the OpenAPI description what only this server knows: its levels, its models, and its keys.

    Args:
        openapi: The description.
        service: The index that is described.
        answering: The indexes whose encoders are offered as models.
    """
    schemas = openapi["components"]["schemas"]
    levels = [level.name for level in service.engine.profile.levels]
    for request in ("SearchRequest", "BatchSearchRequest"):
        _of_type(schemas[request]["properties"]["minimum_level"], "string")["enum"] = levels
    embeddings_fields = schemas["EmbeddingsRequest"]["properties"]
    _of_type(embeddings_fields["model"], "string")["enum"] = list(models.all_encoder_models(answering))
    dimensions = embeddings.accepted_dimensions(service)
    _of_type(embeddings_fields["dimensions"], "integer").update(minimum=dimensions[0], maximum=dimensions[-1])
    if service.ranker is not None:
        rerank_fields = schemas["RerankRequest"]["properties"]
        _of_type(rerank_fields["model"], "string")["enum"] = list(models.ranker_models(service))
    operations = [(path, operation) for path, methods in openapi["paths"].items() for operation in methods.values()]
    for (method, path), body in _example_bodies(service).items():
        openapi["paths"][path][method]["requestBody"]["content"]["application/json"]["example"] = body
    error_content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    for _, operation in operations:
        for code, response in operation["responses"].items():
            if code != "200":  # FastAPI gives errors the content type of the success, such as HTML for the page
                response["content"] = error_content
    _add_keys(openapi, service, operations)
    return openapi


def _add_keys(openapi: dict[str, Any], service: Service, operations: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Say which operations need which key."""
    has_key, schemes = service.settings.api_key is not None, dict[str, Any]()
    for path, operation in operations:
        if path.startswith(WRITING_PATHS):
            operation["security"] = [{"write_key": []}]
        elif has_key and path.startswith(AUTHENTICATED_PATHS):
            operation["security"] = [{"key": []}]
        for each in operation.get("security", ()):
            schemes |= {name: {"type": "http", "scheme": "bearer"} for name in each}
    if schemes:
        openapi["components"]["securitySchemes"] = schemes


def _example_bodies(service: Service) -> dict[tuple[str, str], Any]:
    """Return a body that this server answers, by method and path."""
    query, texts = "who wrote dune", ["Dune is a novel by Frank Herbert.", "Sand moves with the wind."]
    bodies: dict[tuple[str, str], Any] = {
        ("post", "/search"): {"query": query, "k": 3},
        ("post", "/highlights"): {"query": query, "doc_ids": [next(iter(service.retriever.index.doc_ids), "d1")]},
        ("post", "/v1/embeddings"): {"model": service.model, "input": [query]},
    }
    if service.ranker is not None:
        bodies["post", "/v1/rerank"] = {
            "model": service.ranker.folder.name,
            "query": query,
            "documents": texts,
            "top_n": 1,
        }
        bodies["post", "/rerank"] = {"query": query, "texts": texts}
    if service.is_writable:
        bodies["post", "/passages"] = {"passages": [{"doc_id": "dune", "title": "Dune", "text": texts[0]}]}
        bodies["delete", "/passages"] = {"doc_ids": ["dune"]}
    return bodies


def _of_type(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the alternative of an optional field that has a JSON type; the schema itself if it has no alternatives."""
    alternatives: list[dict[str, Any]] = schema.get("anyOf", [])
    return next((alternative for alternative in alternatives if alternative.get("type") == kind), schema)
