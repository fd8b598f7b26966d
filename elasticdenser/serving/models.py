"""`/v1/models`, in the form of OpenAI's API: the subnets of the encoders, and those of the ranker if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.schemas import Model, Models
from elasticdenser.serving.service import Service, answering_services

router = APIRouter(prefix="/v1")

_MAX_SHOWN_NAME = 100


@router.get("/models", response_model=Models, responses=error_responses(401, 503))
async def models(request: Request) -> dict[str, Any]:
    """List the subnets of the encoders, and of the ranker if there is one, as models.

    The name alone is the full encoder, or the largest subnet of the ranker.
    """
    models = _all_models(answering_services(request))
    return {"object": "list", "data": [_model_object(service, name) for name, service in models.items()]}


@router.get("/models/{model:path}", response_model=Model, responses=error_responses(401, 404, 503))
async def model(
    request: Request, model: Annotated[str, Path(description="The model's name; slashes need not be escaped.")]
) -> dict[str, Any] | Response:
    """Return one of the models."""
    models = _all_models(answering_services(request))
    return _model_object(models[model], model) if model in models else unknown_model(model, models)


def all_encoder_models(services: Sequence[Service]) -> dict[str, Service]:
    """Return the first service that has a model, by model name."""
    models: dict[str, Service] = {}
    for service in services:
        for name in service.encoder_models:
            models.setdefault(name, service)
    return models


def ranker_models(service: Service) -> dict[str, str]:
    """Return the subnet of the ranker by model name, the largest first; none without a ranker."""
    if (ranker := service.ranker) is None:
        return {}
    name = ranker.folder.name
    return {name: str(ranker.full_subnet)} | {f"{name}/{subnet}": str(subnet) for subnet in ranker.subnets}


def unknown_model(name: str, models: Iterable[str]) -> Response:
    """Return the error of a name that is not among these models."""
    first, *_, example = models
    message = f"got model {name[:_MAX_SHOWN_NAME]!a}; expected {first}, or a subnet of it such as {example}"
    return error_response(404, f"{message}: GET /v1/models lists all", param="model", code="model_not_found")


def _all_models(services: Sequence[Service]) -> dict[str, Service]:
    return all_encoder_models(services) | dict.fromkeys(ranker_models(services[0]), services[0])


def _model_object(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.started_s, "owned_by": "elasticdenser"}
