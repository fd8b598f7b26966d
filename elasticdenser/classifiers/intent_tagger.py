"""Intents and slots of texts, by a model that a recipe with trains = "intent" makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from elasticdenser.classifiers.intent_inputs import IntentReader
from elasticdenser.datasets.intents.frames import frame_of, spans_of
from elasticdenser.datasets.words import split_words
from elasticdenser.encoders.devices import resolve_device
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.intent_files import INTENT_WEIGHTS, IntentManifest, load_intent_model
from elasticdenser.models.intent_model import IntentModel

_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Words with a slot, whose name is a path where slots hold frames; see `datasets.intents.frames`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parse:
    """Answer for one text.

    Args:
        intent: The most probable intent.
        probability: Its probability.
        slots: The slots in the order of the words.
        tags: Tag of each word.
        frame: Intent and slots in the notation of MTOP, without white space within slots.
    """

    intent: str
    probability: float
    slots: tuple[Slot, ...]
    tags: tuple[str, ...]
    frame: str


class IntentTagger:
    """Finds intents and slots; computes in float32 by torch; safe to use from several threads.

    Use `from_pretrained`.

    Args:
        folder: Folder of the model.
        model: The model, on the device to compute on.
        manifest: Its manifest.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, folder: Path, model: IntentModel, manifest: IntentManifest) -> None:
        self.folder, self.manifest, self._model = folder, manifest, model
        self._device = model.intent_head.weight.device
        self.reader = IntentReader(folder, manifest.shape, manifest.settings.max_length)

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str = "auto") -> Self:
        """Load a model that `elasticdenser train` made.

        Args:
            path: Its folder.
            device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.

        Raises:
            ModelError: The files cannot be used, or there is no such device here.
        """
        folder = Path(path).expanduser().absolute()
        model, manifest = load_intent_model(folder)
        return cls(folder, model.to(resolve_device(device)), manifest)

    def __repr__(self) -> str:
        return f"<IntentTagger {str(self.folder)!r}: {self.manifest.settings.task}, {self.manifest.shape.kind}>"

    @property
    def n_bytes(self) -> int:
        """Bytes of the stored weights."""
        return (self.folder / INTENT_WEIGHTS).stat().st_size

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def parse(self, texts: Sequence[str]) -> list[Parse]:
        """Return intents and slots of texts.

        Raises:
            QueryError: `texts` is one string, or a text has no words.
        """
        if isinstance(texts, str):
            raise QueryError("got one string, expected a list of texts: use [text]")
        return self.parse_words([split_words(text) for text in texts])

    def parse_words(self, texts: Sequence[Sequence[str]]) -> list[Parse]:
        """Return intents and slots of texts that are cut into words.

        Raises:
            QueryError: A text has no words, or is not cut.
        """
        if isinstance(texts, str) or any(isinstance(words, str) for words in texts):
            raise QueryError("got a string, expected lists of words: cut it, or give it to `parse`")
        if not all(texts):
            raise QueryError("got a text without words, expected at least one in each text")
        by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        parses: dict[int, Parse] = {}
        for start in range(0, len(texts), _BATCH):
            numbers = by_length[start : start + _BATCH]
            intents, tags = self.outputs([texts[number] for number in numbers])
            probabilities, best = intents.softmax(dim=-1).max(dim=-1)
            if not probabilities.isfinite().all():
                raise ModelError(f"the model {self.folder} gives numbers that are not finite: train it again")
            rows = zip(numbers, best.tolist(), probabilities.tolist(), tags.argmax(dim=-1).tolist(), strict=True)
            for number, intent, probability, tag_numbers in rows:
                parses[number] = self._parse(texts[number], intent, probability, tag_numbers)
        return [parses[number] for number in range(len(texts))]

    @torch.inference_mode()
    def outputs(self, texts: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Return logits of the intents, (n, n_intents), and of the words' tags, (n, n_words, n_tags), on the CPU."""
        inputs = self.reader.read(texts).part(slice(None), self._device)
        intents, tags = self._model(inputs)
        return intents.float().cpu(), tags.float().cpu()

    def _parse(self, words: Sequence[str], intent: int, probability: float, tag_numbers: Sequence[int]) -> Parse:
        settings = self.manifest.settings
        tags = tuple(settings.tags[number] for number in tag_numbers[: len(words)])
        slots = (Slot(name=span.label, text=" ".join(words[span.start : span.stop])) for span in spans_of(tags))
        name = settings.intents[intent]
        return Parse(
            intent=name,
            probability=probability,
            slots=tuple(slots),
            tags=tags,
            frame=frame_of(name, words, tags),
        )
