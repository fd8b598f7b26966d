"""Inputs of the training of a ranker: encoder, model, passages, queries, candidates and targets."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elasticdenser.artifacts import sha256_of
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError, ModelError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index import PassageIndex
from elasticdenser.models.locate import DEFAULT_MODEL, TRAINED_WEIGHTS, find_model
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.scorer_init import copy_trained_trunk, scorer_from_full
from elasticdenser.models.shape import WIDTHS
from elasticdenser.progress import Progress
from elasticdenser.rankers.pairs import PairTokenizer
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.training.initial_models import trained_model
from elasticdenser.training.inputs import PassageInputs, TrainOptions, corpus_of
from elasticdenser.training.ranker.candidates import make_pools
from elasticdenser.training.ranker.data import RankerData, cached_passage_tokens
from elasticdenser.training.ranker.dev_lists import DevLists, load_dev_lists
from elasticdenser.training.ranker.queries import RankerQueries, gather_queries
from elasticdenser.training.ranker.recipe import RankerRecipe
from elasticdenser.training.ranker.targets import labels_of, mix_scores
from elasticdenser.training.ranker.teachers import prepare_teacher
from elasticdenser.training.ranker.teachers.base import TeacherInputs
from elasticdenser.training.row_cache import cached_rows
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.targets import encoder_identity

_CHUNK_QUERIES = 1024
"""Queries whose scores are computed and saved together."""


class RankerInputs(PassageInputs):
    """The encoder and the model; passages, queries and targets on demand.

    Attributes:
        encoder: The encoder that finds candidates.
        model: The model, on the CPU.
        tokenizer: Tokenizer of pairs.

    Args:
        recipe: The recipe.
        options: Options of the training.
        work: Folder for indexes and caches.
        device: Where to compute.

    Raises:
        ModelError: An encoder is not found, its architecture cannot be made elastic, or pairs are too long for it.
        QueryError: The encoder cannot be divided into such subnets.
    """

    def __init__(self, recipe: RankerRecipe, options: TrainOptions, work: Path, device: torch.device) -> None:
        name, overrides = recipe.encoder or DEFAULT_MODEL, {}
        if recipe.index:
            fingerprint = PassageIndex.open(options.data / recipe.index).manifest.encoder
            name, overrides = recipe.encoder or fingerprint.name, asdict(fingerprint.settings)
        super().__init__(options, work, device, name, overrides)
        self.recipe = recipe
        self.encoder = ElasticQueryEncoder.from_pretrained(
            name, device=str(device), download=not options.offline, **overrides
        )
        self.model = _new_model(recipe, self.encoder)
        shape = self.model.shape
        if recipe.max_length > shape.n_positions:
            raise ModelError(
                f"got max_length = {recipe.max_length} for an encoder of {shape.n_positions} positions: lower it"
            )
        folder = transformer_folder(self.encoder.location.path)
        self.tokenizer = PairTokenizer(folder, shape.vocabulary, recipe.pair_settings)

    def bm25(self, progress: Progress) -> Bm25Index | None:
        """Build or open the BM25 index of the passages, where the recipe needs one.

        Raises:
            BadInputError: The recipe names a finished index instead of the passages.
        """
        if not self.recipe.needs_bm25:
            return None
        if not self.recipe.passages:
            raise BadInputError("BM25 needs the passages themselves: give the recipe 'passages' instead of 'index'")
        folder = self._work / f"bm25-{fingerprint_of(list(self.recipe.passages))[:12]}"
        corpus = corpus_of(self.recipe.passages, self.options.data)
        return Bm25Index.build(corpus, folder, threads=self.options.workers or 1, overwrite=True, progress=progress)

    def queries(self, index: PassageIndex) -> RankerQueries:
        """Gather the training queries."""
        recipe = self.recipe
        return gather_queries(
            recipe.texts, recipe.query_sets, index.doc_ids.find, data=self.options.data, seed=recipe.seed
        )

    def data(
        self, queries: RankerQueries, index: PassageIndex, bm25: Bm25Index | None, progress: Progress
    ) -> tuple[RankerData, dict[str, Any]]:
        """Return lists with their targets, computed unless they are cached, and the identity of the targets."""
        recipe, folder = self.recipe, self._work / "lists"
        pools = make_pools(
            queries, index, self.encoder, bm25, recipe.lists, seed=recipe.seed, folder=folder, progress=progress
        )
        pools_sha256 = hashlib.sha256(queries.sha256().encode() + np.ascontiguousarray(pools).tobytes()).hexdigest()
        inputs = TeacherInputs(
            queries=queries,
            pools=pools,
            index=index,
            bm25=bm25,
            data=self.options.data,
            folder=self._work / "teachers",
            device=self._device,
            offline=self.options.offline,
            trust_remote_code=self.options.trust_remote_code,
            progress=progress,
        )
        scores, identities = [], []
        for settings in recipe.teachers:
            teacher = prepare_teacher(settings, inputs)
            key = fingerprint_of([teacher.identity, pools_sha256])[:12]
            report = partial(progress, f"Scoring candidates by {settings.kind}")
            path = self._work / "teachers" / f"scores-{key}.f32"
            scores.append(cached_rows(path, pools.shape, "<f4", teacher.scores, report, chunk_rows=_CHUNK_QUERIES))
            identities.append({**teacher.identity, "weight": settings.weight})
        targets = mix_scores(scores, [teacher.weight for teacher in recipe.teachers]) if scores else None
        labels = labels_of(queries, pools, targets, recipe.train.false_negative_share)
        tokens = self._tokens(index, progress)
        data = RankerData(queries, pools, targets, labels, tokens, self.tokenizer)
        return data, {"candidates_sha256": pools_sha256, "teachers": identities}

    def _tokens(self, index: PassageIndex, progress: Progress) -> Any:
        pair, vocabulary = self.recipe.pair_settings, self.model.shape.vocabulary
        vectors_sha256 = index.manifest.vectors_sha256
        key = fingerprint_of([vectors_sha256, self.encoder.location.sha256, asdict(pair)])[:12]
        return cached_passage_tokens(
            lambda rows: [index.passage_at(position).content for position in range(rows.start, rows.stop)],
            len(index),
            self.tokenizer,
            vocabulary,
            self._work / "lists" / f"tokens-{key}.bin",
            progress,
        )

    def dev_lists(self, index: PassageIndex, progress: Progress) -> list[DevLists]:
        """Load the dev lists."""
        loaded = []
        for settings in self.recipe.dev_lists:
            own = index
            if settings.index or settings.passages:
                own = self.index(progress, build=True, path=settings.index, passages=settings.passages)
            loaded.append(
                load_dev_lists(
                    settings, own, self.encoder, self.tokenizer, data=self.options.data, seed=self.recipe.seed
                )
            )
        return loaded

    def plan(self, index: PassageIndex, targets: dict[str, Any]) -> dict[str, Any]:
        """Return all that a trained ranker depends on, as its `ranker.json` holds it."""
        recipe, shape = self.recipe, self.model.shape
        start: dict[str, Any] = asdict(recipe.init)
        if recipe.init.model:
            start["weights_sha256"] = sha256_of(
                find_model(recipe.init.model, option="init.model").path / TRAINED_WEIGHTS
            )
        return {
            "trains": "ranker",
            "encoder": encoder_identity(self.encoder),
            "passages": {"n": len(index), "vectors_sha256": index.manifest.vectors_sha256},
            "targets": targets,
            "pairs": asdict(recipe.pair_settings),
            "pooling": recipe.pooling,
            "widths": list(shape.widths),
            "depths": list(shape.depths),
            "start": start,
            "train": settings_to_json(recipe.train),
        }


def _new_model(recipe: RankerRecipe, encoder: ElasticQueryEncoder) -> ElasticScorer:
    """Make the model, by default with all widths that leave whole heads and neurons."""
    folder, settings, depths = encoder.location.path, encoder.settings, recipe.depths or None
    make = partial(scorer_from_full, folder, settings, pooling=recipe.pooling)
    if recipe.init.model:
        location = encoder.location
        trained = trained_model(recipe.init.model, name=location.name, weights_sha256=location.sha256)
        shape = trained.shape
        if recipe.widths not in ((), shape.widths) or recipe.depths not in ((), shape.depths):
            raise BadInputError("got 'init.model' and other widths or depths than its own: leave them out")
        model = make(widths=shape.widths, depths=shape.depths)
        copy_trained_trunk(model, trained)
        return model
    widths = recipe.widths
    if not widths:
        shape = make(widths=(1.0,)).shape
        widths = tuple(width for width in WIDTHS if not (shape.n_heads * width % 1 or shape.n_neurons * width % 1))
    return make(widths=widths, depths=depths)
