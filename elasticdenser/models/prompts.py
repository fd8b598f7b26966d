"""Prompts of a sentence encoder: texts that it expects before queries and before passages, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import value_of


def read_prompts(options: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return name -> prompt.

    Args:
        options: Content of `config_sentence_transformers.json`.
        path: That file, for messages.

    Raises:
        ModelError: The prompts are not texts.
    """
    prompts = value_of(options, "prompts", dict[str, str | None], path, {})
    for name, prompt in prompts.items():
        check_unicode(prompt or "", f"{path}: prompts.{name}")
    return {name: prompt or "" for name, prompt in prompts.items()}


def default_prompts(prompts: Mapping[str, str]) -> tuple[str, str]:
    """Return the prompts of queries and of passages.

    The look-up is that of `encode_query` and `encode_document` of sentence-transformers, without the default prompt.
    """
    passage = next((prompt for key in ("document", "passage", "corpus") if (prompt := prompts.get(key))), "")
    return prompts.get("query", ""), passage


def prompt_named(prompts: Mapping[str, str], name: str) -> str:
    """Return the prompt of a name.

    Raises:
        ModelError: The encoder has no such prompt.
    """
    if name not in prompts:
        known = ", ".join(prompts) or "none"
        raise ModelError(f"got the prompt {name!r}, expected one that the encoder names ({known}), or give its text")
    return prompts[name]


def check_unicode(text: str, where: str) -> None:
    """Check that a text can be encoded.

    Raises:
        ModelError: It holds a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ModelError(f"{where}: got {text!r}, which is not Unicode text: remove the lone surrogate") from None
