"""`elasticdenser classify`: classify texts or pairs of texts with an elastic classifier, with early exits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, print_json, print_lines
from elasticdenser.errors import BadInputError

if TYPE_CHECKING:
    from elasticdenser.classifiers import Prediction
    from elasticdenser.classifiers.exits import ExitRule

_EXAMPLES = options.examples(
    "classify models/sst2 reviews.txt",
    "classify models/rte pairs.tsv --subnet w0.5-d3 --json",
    "classify models/sst2 reviews.txt --exit 0.3",
    "classify models/intent/mtop.pqrnn utterances.txt",
)

_AT_ONCE = 1024
"""Inputs that are read and classified together."""


@command
def classify(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Folder of a classifier, or of a model of intents.", show_default=False),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Text file (.gz and .zst too) with a text a line, or a pair of texts separated by a tab; - is "
            "standard input.",
            show_default=False,
        ),
    ],
    subnet: Annotated[
        str | None,
        typer.Option(metavar="SUBNET", help="Subnet of the classifier, such as w0.5-d3. Default: the largest."),
    ] = None,
    exit_: Annotated[
        float | None,
        typer.Option(
            "--exit",
            metavar="THRESHOLD",
            min=0,
            max=1,
            help="Let an input leave at the first exit of that width whose entropy is below this share of the highest: "
            "0 never, 1 always.",
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0, help="Let an input leave where this many exits in a row agree with the one before; 0: off."
        ),
    ] = 0,
    difference: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="With --patience, of a regression: share of the highest number up to which two exits agree.",
        ),
    ] = 0.05,
    device: options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each input.")] = False,
) -> None:
    """Classify each line of a file; prints the label and its probability, or the number of a regression.

    Reports the operations spent on average, beside those of the subnet without early exits.
    Of a model of intents and slots, prints the intent, its probability, and the slots.
    """
    from elasticdenser.classifiers import ElasticClassifier, ExitRule
    from elasticdenser.models.intent_files import is_intent_model

    if is_intent_model(model):
        if subnet or exit_ is not None or patience:
            raise typer.BadParameter("a model of intents has no subnets and exits: leave --subnet and --exit out")
        _print_parses(model, file, device, as_json=as_json)
        return
    rule: ExitRule | None = None
    if exit_ is not None or patience:
        rule = ExitRule(entropy=exit_, patience=patience, difference=difference)
    classifier = ElasticClassifier.from_pretrained(model, device=device)
    chosen = classifier.resolve_subnet(subnet)
    if rule is not None and len(classifier.exits_of(chosen)) < 2:
        note(f"{chosen} has no exit before its own: train more depths of its width")
    spent, left_at, n_inputs = 0, Counter[str](), 0
    lines = _inputs(file)
    while inputs := list(islice(lines, _AT_ONCE)):
        predictions = classifier.classify(inputs, chosen, rule)
        for prediction in predictions:
            _print(prediction, as_json=as_json)
            left_at[str(prediction.subnet)] += 1
        spent, n_inputs = spent + sum(prediction.flops for prediction in predictions), n_inputs + len(inputs)
    if n_inputs:
        where = ", ".join(f"{count:,} at {name}" for name, count in sorted(left_at.items()))
        note(f"{n_inputs:,} inputs, {spent / n_inputs / 1e6:.1f} million operations each: {where}")


def _print_parses(model: Path, file: Path, device: str, *, as_json: bool) -> None:
    """Print intents and slots of the lines of a file."""
    from elasticdenser.classifiers import IntentTagger

    tagger, words = IntentTagger.from_pretrained(model, device=device), _words(file)
    while texts := list(islice(words, _AT_ONCE)):
        for parse in tagger.parse_words(texts):
            slots = [{"name": slot.name, "text": slot.text} for slot in parse.slots]
            if as_json:
                print_json({"intent": parse.intent, "probability": parse.probability, "slots": slots})
            else:
                shown = (f"{slot['name']}={slot['text']}" for slot in slots)
                print_lines("\t".join([parse.intent, f"{parse.probability:.4f}", *shown]))


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a file; a note says so if there are none."""
    number = 0
    for number, line in options.text_lines(file):
        yield number, line
    if not number:
        note(f"{_source(file)}: no line in it, expected a text in each line")


def _source(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)


def _inputs(file: Path) -> Iterator[str | Sequence[str]]:
    """Yield the texts and pairs of a file; empty lines are those of a text without words."""
    for _, line in _lines(file):
        yield line.split("\t") if "\t" in line else line


def _words(file: Path) -> Iterator[list[str]]:
    """Yield the words of each line of a file.

    Raises:
        BadInputError: A line has none.
    """
    from elasticdenser.datasets.words import split_words

    for number, line in _lines(file):
        words = split_words(line)
        if not words:
            message = "got a line without words, expected a text in each line: remove it"
            raise BadInputError(message, _source(file), number)
        yield words


def _print(prediction: Prediction, *, as_json: bool) -> None:
    if as_json:
        answer: dict[str, object] = {"value": prediction.value}
        if prediction.value is None:
            answer = {"label": prediction.label, "probabilities": prediction.probabilities}
        print_json({**answer, "subnet": str(prediction.subnet), "flops": prediction.flops})
    elif prediction.value is not None:
        print_lines(f"{prediction.value:.3f}")
    else:
        print_lines(f"{prediction.label}\t{prediction.probability:.4f}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(classify)
