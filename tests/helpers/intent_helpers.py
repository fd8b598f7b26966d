"""Tiny data sets of intents and slots, recipes of models of them, and a model of random weights."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

RECIPE = """
trains = "intent"
task = "mtop"
encoder = "{encoder}"
seed = 1
max_length = 32
[train]
steps = 5
batch = 8
warm_up = 1
learning_rate = 3e-3
"""
PQRNN = """
[pqrnn.model]
n_features = 64
bottleneck = 16
n_layers = 1
hidden = 16
[pqrnn.projection]
n_features = 64
"""
LSTM = """
[lstm]
n_layers = 1
hidden = 16
"""
_PLACES = ("desert", "planet", "file", "thread")
_VERBS = ("wait", "sort")


def write_intents(folder: Path, n_train: int = 40, n_dev: int = 12) -> Path:
    """Write all data sets, made of few words so that they can be learnt; return their folder."""
    rng, intents = random.Random(0), folder / "intent"
    for split, n in (("train", n_train), ("dev", n_dev), ("test", n_dev)):
        examples = [(rng.choice(_VERBS), rng.choice(_PLACES)) for _ in range(n)]
        official = {"dev": "valid"}.get(split, split)
        _write(
            intents / "mtop-en" / f"{split}.jsonl",
            [
                json.dumps({"question": f"{verb} the {place}.", "logical_form": frame(verb, place)})
                for verb, place in examples
            ],
        )
        if split != "train":
            records = [
                {
                    "question": {"de": f"{verb}e {place}"},
                    "mr": {"slot_intent": {"de": f"[IN:{verb.upper()} [SL:PLACE {place} ] ]"}},
                }
                for verb, place in examples
            ]
            _write(intents / "mtop-multilingual" / f"{split}.json", [json.dumps(records)])
        _write(
            intents / "fb-multilingual" / f"es.{official}",
            [f"{verb}:O {place}:B-place ::I-place <=> alarm__{verb}" for verb, place in examples],
        )
        snips = intents / "snips" / official
        _write(snips / "seq.in", [f"{verb} the {place} " for verb, place in examples])
        _write(snips / "seq.out", ["O B-place I-place " for _ in examples])
        _write(snips / "label", [verb.title() for verb, _ in examples])
        if split != "dev":
            path = _write(intents / "banking77" / f"{split}.csv", [])
            with open(path, "w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerows([("text", "category"), *((f"{verb}, the {place}", verb) for verb, place in examples)])
    clinc = {f"{prefix}{split}": [["sort a file", "sort"]] for prefix in ("",) for split in ("train", "val", "test")}
    clinc |= {f"oos_{split}": [["planet", "oos"]] for split in ("train", "val", "test")}
    _write(intents / "clinc150" / "data_full.json", [json.dumps(clinc)])
    return intents


def frame(verb: str, place: str) -> str:
    """Return the frame of an utterance in the notation of MTOP; that of `wait` is nested."""
    if verb == "sort":
        return f"[IN:SORT [SL:PLACE the {place} ] ]"
    return f"[IN:WAIT [SL:PLACE [IN:GET_PLACE [SL:NAME {place} ] ] ] ]"


def write_intent_recipe(folder: Path, encoder: Path, body: str = "", *changes: tuple[str, str]) -> Path:
    """Write the recipe of a body, with some of its text replaced."""
    text = RECIPE.format(encoder=encoder) + body
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def _write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_intent_model(folder: Path, base: Path, kind: str = "pqrnn", task: str = "mtop") -> Path:
    """Write a model of random weights, made of the encoder in `base`; return its folder."""
    import torch

    from elasticdenser.models.intent_bodies import LSTMSettings
    from elasticdenser.models.intent_files import IntentSettings, save_intent_model
    from elasticdenser.models.intent_model import IntentModel, IntentShape, PQRNNBody
    from elasticdenser.models.locate import find_model
    from elasticdenser.models.pqrnn import PQRNNSettings
    from elasticdenser.models.projection import ProjectionSettings
    from elasticdenser.models.shape import ElasticShape
    from elasticdenser.models.trunk_init import read_supported

    tokens = read_supported(base)[1].get("embeddings.word_embeddings.weight")
    vocabulary, hidden = tokens.shape
    shapes = {
        "pqrnn": IntentShape(
            pqrnn=PQRNNBody(
                model=PQRNNSettings(n_features=64, bottleneck=16, n_layers=2, hidden=8),
                projection=ProjectionSettings(n_features=64),
            )
        ),
        "lstm": IntentShape(lstm=LSTMSettings(hidden=8, n_layers=1, vocabulary=vocabulary, token_dim=hidden)),
        "encoder": IntentShape(
            encoder=ElasticShape(
                n_layers=1,
                n_heads=2,
                hidden=hidden,
                n_neurons=32,
                vocabulary=vocabulary,
                n_positions=64,
                dim=hidden,
                widths=(1.0,),
                depths=(1,),
            )
        ),
    }
    torch.manual_seed(0)
    model = IntentModel(shapes[kind], 2, 4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    tags = ("B-PLACE", "B-PLACE>GET_PLACE>NAME", "I-PLACE", "O")
    settings = IntentSettings(task=task, intents=("SORT", "WAIT"), tags=tags, max_length=32)
    made_by = {"name": str(base), "weights_sha256": find_model(str(base)).sha256}
    base_or_none = None if kind == "pqrnn" else base
    save_intent_model(folder, base=base_or_none, model=model, settings=settings, provenance=made_by)
    return folder
