"""Embedding recycling: training and encoding from cached states of the first layers, against computing them.

    python eval/bench/recycling.py --data DATA

Two parts (`--part` runs one), on one thread, timed in CPU seconds:

- `training`: the full encoder is fine-tuned on SST-2 with no layer recycled, and with the first 2, 3 and 4. All take
  their steps in turns, on the same batches; the same layers frozen but not cached take the first `--timed-steps` of
  them. A step holds all that recycling adds: token ids as keys, reading, checksums. Writing is counted apart.
- `encoding`: passages are encoded with an encoder whose last layer was changed, with nothing cached and from the states
  that the unchanged one cached; its first pass, which fills the cache, is timed too.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
import torch
from report import append_result, print_table
from safetensors.torch import load_file, save_file

from elasticdenser import ElasticQueryEncoder, PassageEncoder, open_corpus
from elasticdenser.arrays import Vectors
from elasticdenser.classifiers.inputs import InputTokenizer
from elasticdenser.datasets.glue import glue_task, load_glue
from elasticdenser.encoders.recycling import RecyclingSettings
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.bert import read_model
from elasticdenser.models.locate import find_model
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.models.scorer_init import logits_from_full
from elasticdenser.models.weights_files import weights_file
from elasticdenser.subnet import Subnet
from elasticdenser.training.classifier.classifier_training import ClassifierTraining
from elasticdenser.training.classifier.data import ExampleData
from elasticdenser.training.classifier.settings import ClassifierSettings

_TRAINED = (0, 2, 3, 4)
_ENCODED = ((3, "float16"), (4, "float16"), (3, "int8"))
_BATCH, _CHUNK = 32, 10
_MAX_LENGTH = 32
_TUNED = "layer.5.output.dense.weight"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--part", choices=("training", "encoding"))
    parser.add_argument("--examples", type=int, default=4000, help="training examples of SST-2, the first ones")
    parser.add_argument("--max-words", type=int, default=1000, help="leave longer examples out, to save time")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--timed-steps", type=int, default=16, help="steps with layers frozen and not cached")
    parser.add_argument("--passages", type=int, default=300, help="passages of Natural Questions, the first ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        if options.part != "encoding":
            rows = _training(options, Path(folder))
            print_table(f"SST-2, {options.examples:,} examples, CPU time", rows)
            settings = {name: getattr(options, name) for name in ("examples", "max_words", "epochs", "timed_steps")}
            result["training"] = {**settings, "batch": _BATCH, "rows": rows}
        if options.part != "training":
            rows = _encoding(options, Path(folder))
            print_table(f"{options.passages} passages encoded, CPU time", rows)
            result["encoding"] = {"passages": options.passages, "chunk": _CHUNK, "rows": rows}
    append_result("recycling", result)


def _training(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Return figures by recycled layers."""
    encoder, task = ElasticQueryEncoder.from_pretrained(device="cpu", download=False), glue_task("SST-2")
    folder = transformer_folder(encoder.location.path)
    train, dev = (load_glue(options.data / "glue", task, split) for split in ("train", "dev"))
    train = [example for example in train if len(example.texts[0].split()) <= options.max_words]
    dev.sort(key=lambda example: len(example.texts[0]))  # less padding

    def model_of() -> ElasticLogits:
        path, settings = encoder.location.path, encoder.settings
        return logits_from_full(path, settings, n_outputs=2, widths=(1.0,), depths=(6,), pooling="mean")

    tokenizer = InputTokenizer(folder, model_of().shape.vocabulary, _MAX_LENGTH)
    data, dev_data = (ExampleData(examples, tokenizer, 0.0) for examples in (train[: options.examples], dev))
    n_steps = -(-len(data) // _BATCH)
    settings = ClassifierSettings(
        steps=n_steps * options.epochs,
        batch=_BATCH,
        learning_rate=1e-4,
        exit_learning_rate=2e-3,
        warm_up=10,
        seed=1,
        bfloat16=False,
        teacher_weight=0.0,
    )
    trainings: dict[tuple[int, bool], ClassifierTraining] = {}
    for layers in _TRAINED:
        for cached in (True, False) if layers else (True,):
            own = replace(settings, recycled_layers=layers, recycled_gb=8.0 if cached else 0.0)
            trainings[layers, cached] = ClassifierTraining(model_of(), data, own, work / f"{layers}-{cached}" / "run")
    times = _steps_in_turns(trainings, settings.steps, options.timed_steps)
    return [
        _training_row(layers, times, n_steps, trainings[layers, True], _accuracy(trainings[layers, True], dev_data))
        for layers in _TRAINED
    ]


def _steps_in_turns(
    trainings: dict[tuple[int, bool], ClassifierTraining], n_steps: int, n_uncached: int
) -> dict[tuple[int, bool], list[float]]:
    """Take all steps; return the CPU seconds of each."""
    times: dict[tuple[int, bool], list[float]] = {name: [] for name in trainings}
    for step in range(n_steps):
        for (layers, cached), training in trainings.items():
            if not cached and step >= n_uncached:
                continue
            batch = training.read_batch(step)
            started = process_time()
            training.train_step(batch)
            times[layers, cached].append(process_time() - started)
            training.step += 1
        last = ", ".join(
            f"{layers}{'' if cached else ' not cached'} {own[-1]:.2f}" for (layers, cached), own in times.items()
        )
        print(f"step {step + 1} of {n_steps}, CPU s by recycled layers: {last}", file=sys.stderr)
    return times


def _training_row(
    layers: int, times: dict[tuple[int, bool], list[float]], n_steps: int, training: ClassifierTraining, accuracy: float
) -> dict[str, Any]:
    own, base = times[layers, True], times[0, True]
    n_later = len(own) - n_steps
    row: dict[str, Any] = {
        "recycled layers": layers,
        "first epoch, s": sum(own[:n_steps]),
        "later epoch, s": sum(own[n_steps:]) * n_steps / n_later,
        "times as fast, first epoch": _ratio(base[:n_steps], own[:n_steps]),
        "later epochs": _ratio(base[n_steps:], own[n_steps:]),
        "accuracy": accuracy,
    }
    if training.recycled is None:
        return row
    cache, uncached = training.recycled.cache, times[layers, False]
    started = process_time()
    cache.flush()
    return row | {
        "frozen, not cached": _ratio(base[: len(uncached)], uncached),
        "first epoch / not cached": _ratio(own[: len(uncached)], uncached),
        "writing, s": process_time() - started,
        "MB on disk": cache.n_bytes / 1e6,
        "MB read an epoch": cache.counts.bytes_read / 1e6 * n_steps / n_later,
    }


def _ratio(base: list[float], own: list[float]) -> float:
    """Return the median over steps of how many times faster than the base each is."""
    return median(base_s / own_s for base_s, own_s in zip(base, own, strict=True))


@torch.inference_mode()
def _accuracy(training: ClassifierTraining, dev: ExampleData) -> float:
    right = []
    for start in range(0, len(dev), _BATCH):
        batch = dev.in_order(start, start + _BATCH)
        logits = training.model(batch.token_ids, batch.mask, Subnet(1.0, 6))
        right += (logits.argmax(dim=1) == batch.labels).tolist()
    return sum(right) / len(right)


def _encoding(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Return figures by recycled layers and form of the states."""
    texts = [passage.content for passage in islice(open_corpus(options.data / "nq"), options.passages)]
    chunks = [texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK)]
    original = find_model(ElasticQueryEncoder.from_pretrained(device="cpu", download=False).location.name)
    tuned = _tuned_copy(original.path, work / "tuned")
    rows = []
    plain = _encoder(tuned)
    for layers, dtype in _ENCODED:
        recycling = RecyclingSettings(folder=work / f"cache-{layers}-{dtype}", layers=layers, dtype=dtype)
        filling = _encode_in_turns(
            {"plain": _encoder(original.path), "own": _encoder(original.path, recycling)}, chunks
        )
        recycled = _encoder(tuned, recycling)
        later = _encode_in_turns({"plain": plain, "own": recycled}, chunks)
        expected, vectors = later["plain"][1], later["own"][1]
        cache = recycled.activations
        if not isinstance(cache, ActivationCache) or cache.counts.computed:
            raise SystemExit("states were computed again, expected all of them in the cache")
        rows.append(
            {
                "recycled layers": layers,
                "states": dtype,
                "first pass, times as fast": _ratio(filling["plain"][0], filling["own"][0]),
                "second pass": _ratio(later["plain"][0], later["own"][0]),
                "ms a passage, nothing cached": 1000 * sum(later["plain"][0]) / len(texts),
                "ms, second pass": 1000 * sum(later["own"][0]) / len(texts),
                "kB a passage": cache.n_bytes / len(texts) / 1e3,
                "largest difference": float(np.abs(vectors - expected).max()),
                "least cosine": float((vectors * expected).sum(axis=1).min()),
            }
        )
    return rows


def _encode_in_turns(
    encoders: dict[str, PassageEncoder], chunks: list[list[str]]
) -> dict[str, tuple[list[float], Vectors]]:
    """Return the CPU seconds of each chunk, and the vectors of all, by encoder; chunks are encoded in turns."""
    times: dict[str, list[float]] = {name: [] for name in encoders}
    vectors: dict[str, list[Vectors]] = {name: [] for name in encoders}
    for chunk in chunks:
        for name, encoder in encoders.items():
            started = process_time()
            vectors[name].append(encoder.encode(chunk))
            times[name].append(process_time() - started)
    return {name: (times[name], np.concatenate(vectors[name])) for name in encoders}


def _encoder(folder: Path, recycling: RecyclingSettings | None = None) -> PassageEncoder:
    return PassageEncoder.from_pretrained(str(folder), dtype="float32", device="cpu", recycling=recycling)


def _tuned_copy(original: Path, folder: Path) -> Path:
    """Copy an encoder, with another weight in its last layer, as after a fine-tuning."""
    shutil.copytree(original, folder)
    path = weights_file(folder)
    weights = load_file(path) if path.suffix == ".safetensors" else read_model(folder)[1]
    (name,) = (name for name in weights if name.endswith(_TUNED))
    weights[name] = weights[name] + 0.01 * torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(1))
    save_file(weights, path.with_name("model.safetensors"), metadata={"format": "pt"})
    return folder


if __name__ == "__main__":
    main()
