"""Sentence encoder of any architecture that transformers loads, such as MPNet; for teachers only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.tokenizing import TextTokenizer
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.models.trunk import pooled
from elasticdenser.rankers.elastic_ranker import length_batches

_BATCH_TOKENS = {"cpu": 4096}
_GPU_BATCH_TOKENS = 65536


class TransformersEncoder:
    """Sentence encoder computed by transformers.

    Args:
        location: Location of its files.
        settings: How its texts become vectors.
        dtype: Arithmetic, such as `bfloat16`.
        device: Where to compute.

    Raises:
        ModelError: transformers is not installed, or cannot load the model.
    """

    def __init__(self, location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str) -> None:
        try:
            from transformers import AutoModel
            from transformers.utils import logging
        except ImportError as error:
            raise ModelError(
                f"{location.name} is of an architecture that only transformers computes, which is not installed: "
                "pip install transformers"
            ) from error
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its bar would stand in the midst of ours
        folder = transformer_folder(location.path)
        try:
            self._model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
        except Exception as error:  # transformers has many kinds of errors
            raise ModelError(f"transformers cannot load {folder} ({error}): choose another teacher") from error
        self._model.to(device).eval()
        self._settings, self._device = settings, torch.device(device)
        self._tokenizer = TextTokenizer(load_tokenizer(folder, settings.max_length), settings.max_length)

    def encode(self, queries: Sequence[str]) -> Vectors:
        """Return the vectors of queries: float32, (n_queries, dim), L2-normalised if the settings say so."""
        return self._vectors(queries, self._settings.query_prompt)

    def encode_passages(self, passages: Sequence[str]) -> Vectors:
        """Return the vectors of passages: float32, (n_passages, dim), L2-normalised if the settings say so."""
        return self._vectors(passages, self._settings.passage_prompt)

    @torch.inference_mode()
    def _vectors(self, texts: Sequence[str], prompt: str) -> Vectors:
        sequences = [tokenized.ids for tokenized in self._tokenizer.tokenize(texts, prompt)]
        vectors = np.empty((len(texts), self._settings.dim), np.float32)
        max_tokens = _BATCH_TOKENS.get(self._device.type, _GPU_BATCH_TOKENS)
        for batch in length_batches([len(sequence) for sequence in sequences], max_tokens):
            lengths = torch.tensor([len(sequences[number]) for number in batch])
            mask = torch.arange(int(lengths.max())) < lengths[:, None]
            token_ids = torch.zeros(mask.shape, dtype=torch.int64)
            token_ids[mask] = torch.tensor([token for number in batch for token in sequences[number]])
            # Padding gets the model's own padding token: MPNet counts positions by it.
            token_ids[~mask] = self._model.config.pad_token_id or 0
            token_ids, mask = token_ids.to(self._device), mask.to(self._device)
            states = self._model(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
            found = pooled(states.float(), mask, self._settings.pooling)[:, : self._settings.dim]
            vectors[batch] = (F.normalize(found, dim=-1) if self._settings.normalize else found).cpu().numpy()
        return vectors
