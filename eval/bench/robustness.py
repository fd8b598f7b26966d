"""Robustness of every subnet to slips in its texts, and the front of quality, robustness and time (after RoSearch).

    OMP_NUM_THREADS=1 python eval/bench/robustness.py --data DATA --index INDEX [--encoder FOLDER...]
    OMP_NUM_THREADS=1 python eval/bench/robustness.py --data DATA --classifier FOLDER...

Queries: RR@10 on questions of NQ dev, over an index of the encoder's passages, at the greatest effort. Classifiers:
accuracy on the dev set of their GLUE task; the first text of an example gets the slip. Every text gets every slip
once; "slips" is the mean over them. Time is the CPU time of one text on one thread. With several models the front is
that of all their subnets: the search of Guo et al. (2021) over architectures and trainings, among what is trained.

A choice is on the front if no other one is at least as good in all three aims. A ladder takes the concave hull of
quality over time: how often a choice is on it, with clean texts and with slips, is counted over resampled texts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import all_items_s, append_result, print_table, time_items_in_turns

from elasticdenser import ElasticClassifier, ElasticQueryEncoder, PassageIndex
from elasticdenser.artifacts import atomic_write
from elasticdenser.datasets.glue import glue_task, load_glue
from elasticdenser.datasets.perturbations import PERTURBATIONS, perturbed
from elasticdenser.evaluation.front import non_dominated
from elasticdenser.hull import concave_hull
from elasticdenser.reports.charts.cost import cost_svg
from elasticdenser.reports.charts.labels import Point
from elasticdenser.reports.charts.style import height_for_names
from elasticdenser.reports.palette import SERIES_COLOURS, SERIES_MARKERS, SystemStyle
from elasticdenser.training.dev_sets import load_dev_set
from elasticdenser.training.settings import DevSetSettings

CLEAN = "clean"
DEFAULT_SLIPS = ("typing-error", "two-typing-errors", "dropped-word", "swapped-words", "repeated-word")
"""Slips that every encoder sees; case is invisible to those whose tokenizer writes all in lower case."""

N_TIMED, N_ROUNDS, N_RESAMPLES = 30, 3, 2000

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A subnet of a model.

    Args:
        name: Its name.
        values: Slip, or `CLEAN` -> quality of each text.
        compute: Computes one text by its number, to be timed.
    """

    name: str
    values: Mapping[str, Values]
    compute: Callable[[int], object]

    def with_slips(self) -> Values:
        """Return the mean quality of each text over the slips."""
        mean: Values = np.mean([values for slip, values in self.values.items() if slip != CLEAN], axis=0)
        return mean


def main() -> None:
    """Print and record quality, robustness and time of every choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--index", type=Path, help="index of NQ's and Wikipedia's passages")
    parser.add_argument("--encoder", nargs="+", default=["elasticdenser/all-MiniLM-L6-v2"], help="query encoders")
    parser.add_argument("--classifier", nargs="+", default=[], help="classifiers of one task, instead of --index")
    parser.add_argument("--limit", type=int, default=300, help="number of texts, drawn at random; 0 is all")
    parser.add_argument("--slips", nargs="+", default=DEFAULT_SLIPS, choices=tuple(PERTURBATIONS), metavar="SLIP")
    parser.add_argument("--pictures", type=Path, help="folder for two pictures, of clean texts and of slips")
    options = parser.parse_args()
    if bool(options.index) == bool(options.classifier):
        parser.error("give either --index or --classifier")
    choices, what = (_of_classifiers if options.classifier else _of_queries)(options)
    seconds = time_items_in_turns({choice.name: choice.compute for choice in choices}, N_TIMED, N_ROUNDS, process_time)
    ms = [1000 * all_items_s(seconds[choice.name], N_ROUNDS) / N_TIMED for choice in choices]
    rows = rows_of(choices, ms)
    print_table(what, rows)
    values = choices[0].values[CLEAN]
    error = float(values.std() / len(values) ** 0.5)
    print(f"\nstandard error of a quality: {error:.4f}; of differences between choices it is smaller")
    append_result("robustness", {"what": what, "slips": list(options.slips), "standard_error": error, "rows": rows})
    if options.pictures:
        draw(options.pictures, "classes" if options.classifier else "queries", choices, ms)


def rows_of(choices: Sequence[Choice], ms: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for each choice.

    Args:
        choices: The choices.
        ms: CPU milliseconds of a text.
    """
    clean = np.array([choice.values[CLEAN] for choice in choices])
    slips = np.array([choice.with_slips() for choice in choices])
    aims = np.stack([clean.mean(axis=1), slips.mean(axis=1), -np.array(ms)], axis=1).tolist()
    front = set(non_dominated(aims))
    hulls = [set(hull_of(values.mean(axis=1), ms)) for values in (clean, slips)]
    shares = hull_shares(clean, slips, ms)
    return [
        {
            "choice": choice.name,
            **{slip: float(values.mean()) for slip, values in choice.values.items()},
            "slips": float(slips[number].mean()),
            "CPU ms": ms[number],
            "front": _marked(number in front),
            "hull, clean": f"{_marked(number in hulls[0])}{shares[0][number]:.0%}",
            "hull, slips": f"{_marked(number in hulls[1])}{shares[1][number]:.0%}",
        }
        for number, choice in enumerate(choices)
    ]


def hull_of(quality: Values, ms: Sequence[float]) -> list[int]:
    """Return the numbers of the choices on the concave hull of quality over time, best first."""
    order = sorted(range(len(ms)), key=lambda number: (-quality[number], ms[number]))
    return [order[place] for place in concave_hull([(ms[number], float(quality[number])) for number in order])]


def hull_shares(clean: Values, slips: Values, ms: Sequence[float]) -> list[Values]:
    """Return how often each choice is on the hull of clean texts, and on that of slips, over resampled texts.

    Args:
        clean: (n_choices, n_texts): quality of each text.
        slips: The same with slips.
        ms: CPU milliseconds of a text.
    """
    rng, counts = np.random.default_rng(0), np.zeros((2, len(ms)))
    for _ in range(N_RESAMPLES):
        drawn = rng.integers(clean.shape[1], size=clean.shape[1])
        for kind, values in enumerate((clean, slips)):
            counts[kind, hull_of(values[:, drawn].mean(axis=1), ms)] += 1
    return list(counts / N_RESAMPLES)


def draw(folder: Path, subject: str, choices: Sequence[Choice], ms: Sequence[float]) -> None:
    """Draw quality against time as SVG, once with clean texts and once with slips."""
    folder.mkdir(parents=True, exist_ok=True)
    styles = {
        choice.name: SystemStyle(
            colour=SERIES_COLOURS[number % len(SERIES_COLOURS)],
            marker=SERIES_MARKERS[number % len(SERIES_MARKERS)],
            line={},
        )
        for number, choice in enumerate(choices)
    }
    for kind, label in ((CLEAN, "quality, clean"), ("slips", "quality, mean over slips")):
        values = [choice.values[CLEAN] if kind == CLEAN else choice.with_slips() for choice in choices]
        points = {}
        for choice, found, time in zip(choices, values, ms, strict=True):
            mean = float(found.mean())
            points[choice.name] = Point(name=choice.name, x=time, y=mean, low=mean, high=mean)
        name = f"robustness-{subject}-{kind}"
        height = height_for_names(len(points))
        svg = cost_svg(name, points, styles, y_label=label, x_label="CPU milliseconds a text", height=height)
        with atomic_write(folder / f"{name}.svg") as file:
            file.write(svg)


def _of_queries(options: argparse.Namespace) -> tuple[list[Choice], str]:
    settings = DevSetSettings(path="nq", split="dev", measure="RR@10", limit=options.limit)
    dev = load_dev_set(settings, PassageIndex.open(options.index), data=options.data, seed=1)
    texts = {CLEAN: dev.texts}
    for slip in options.slips:
        texts[slip] = [perturbed(text, slip, query_id) for query_id, text in dev.query_set.judged.items()]
    choices = []
    for folder in options.encoder:
        encoder = ElasticQueryEncoder.from_pretrained(folder, device="cpu", download=False)
        dev.index.check_encoder(encoder.fingerprint)
        for subnet in encoder.subnets:
            values = {slip: dev.values(encoder.encode(found, subnet)) for slip, found in texts.items()}
            compute = partial(_encode_one, encoder, dev.texts, subnet)
            name = _name(folder, str(subnet), len(options.encoder))
            choices.append(Choice(name=name, values=values, compute=compute))
    return choices, f"RR@10 of {len(dev.texts)} questions of NQ dev over {len(dev.index):,} passages"


def _encode_one(encoder: ElasticQueryEncoder, texts: Sequence[str], subnet: Any, number: int) -> None:
    encoder.encode([texts[number % len(texts)]], subnet)


def _of_classifiers(options: argparse.Namespace) -> tuple[list[Choice], str]:
    choices, tasks, n_texts = [], set(), 0
    for folder in options.classifier:
        classifier = ElasticClassifier.from_pretrained(folder, device="cpu")
        task = glue_task(classifier.task)
        if not task.labels:
            raise SystemExit(f"{folder} gives numbers, expected classes: choose a classifier of another task")
        examples = load_glue(options.data / "glue", task, task.dev[0])
        if 0 < options.limit < len(examples):
            rows = np.random.default_rng(1).choice(len(examples), options.limit, replace=False)
            examples = [examples[row] for row in rows]
        inputs = {CLEAN: [example.texts for example in examples]}
        for slip in options.slips:
            inputs[slip] = [(perturbed(e.texts[0], slip, str(n)), *e.texts[1:]) for n, e in enumerate(examples)]
        outputs = {slip: classifier.outputs(found)[0] for slip, found in inputs.items()}
        labels = [example.label for example in examples]
        for subnet in classifier.subnets:
            values = {slip: _right(labels, found[subnet].numpy()) for slip, found in outputs.items()}
            compute = partial(_classify_one, classifier, inputs[CLEAN], subnet)
            name = _name(folder, str(subnet), len(options.classifier))
            choices.append(Choice(name=name, values=values, compute=compute))
        tasks.add(task.name)
        n_texts = len(examples)
    return choices, f"accuracy on {n_texts} examples of {', '.join(sorted(tasks))} dev"


def _right(labels: Sequence[float], outputs: Any) -> Values:
    """Return 1 for each example whose class is found, else 0: the mean is the accuracy."""
    return np.array(outputs.argmax(axis=1) == np.array(labels), np.float64)


def _classify_one(classifier: ElasticClassifier, inputs: Sequence[Sequence[str]], subnet: Any, number: int) -> None:
    classifier.classify([inputs[number % len(inputs)]], subnet)


def _name(folder: str, subnet: str, n_models: int) -> str:
    return subnet if n_models == 1 else f"{Path(folder).name}.{subnet}"


def _marked(is_on: bool) -> str:
    return "x " if is_on else ""


if __name__ == "__main__":
    main()
