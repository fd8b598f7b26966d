"""Output of `elasticdenser train`: what was trained, how good it is, and what to try next."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.cli.output import note, print_table
from elasticdenser.training.classifier.train import ClassifierResult
from elasticdenser.training.intent.train import IntentResult
from elasticdenser.training.kinds import AnyResult
from elasticdenser.training.late_interaction.fit import LateInteractionResult
from elasticdenser.training.mirror.train import MirrorResult
from elasticdenser.training.pqrnn.train import PQRNNResult
from elasticdenser.training.ranker.train import RankerResult
from elasticdenser.training.retention import SnapshotSelection
from elasticdenser.training.train import TrainingResult


def report_training(trained: AnyResult, output: Path) -> None:
    """Print what a training made.

    Args:
        trained: Its result.
        output: Folder of the model, as the user gave it.
    """
    match trained:
        case TrainingResult():
            _report_encoder(trained, output)
        case ClassifierResult():
            _report_classifier(trained, output)
        case IntentResult():
            _report_intent(trained, output)
        case MirrorResult():
            _report_mirror(trained, output)
        case PQRNNResult():
            _report_pqrnn(trained, output)
        case RankerResult():
            _report_ranker(trained, output)
        case LateInteractionResult():
            _report_late_interaction(trained, output)


def _report_encoder(trained: TrainingResult, output: Path) -> None:
    if trained.selection is not None:
        columns, rows = _selection_rows(trained.selection)
        print_table(f"Quality retained; step {trained.step} selected", columns, rows, numeric=len(columns))
    subnets = trained.subnets
    if trained.teacher:
        note(f"{output}: a student of {trained.teacher}, {len(subnets)} subnets: {', '.join(map(str, subnets))}")
    else:
        note(f"{output}: {len(subnets)} subnets beside the full encoder: {', '.join(map(str, subnets))}")
    note(f"{trained.run}: working files of the training; they can be removed")
    index, subnet = trained.index or "INDEX", subnets[len(subnets) // 2]
    note(f'now try:  elasticdenser search {index} "your question" --encoder {output} --subnet {subnet}')


def _report_ranker(trained: RankerResult, output: Path) -> None:
    if trained.selection is not None:
        columns, rows = _selection_rows(trained.selection)
        title = f"Quality as a share of the first stage's; step {trained.step} selected"
        print_table(title, columns, rows, numeric=len(columns))
    note(f"{output}: a ranker of {len(trained.subnets)} subnets: {', '.join(map(str, trained.subnets))}")
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f"now try, in Python:  ElasticRanker.from_pretrained({str(output)!r}).score(query, texts)")


def _report_late_interaction(trained: LateInteractionResult, output: Path) -> None:
    rows = [[str(subnet), f"{cosine:.3f}"] for subnet, cosine in trained.closeness.items()]
    if rows:
        print_table("Cosine of query tokens to the full encoder's", ["subnet", "cosine"], rows, numeric=1)
    note(f"{output}: a late-interaction ranker, which keeps {trained.energy:.1%} of the squares of tokens' states")
    note(f'now try:  elasticdenser search INDEX "your question" --rerank 50 --ranker {output}')


def _report_classifier(trained: ClassifierResult, output: Path) -> None:
    rows = [(str(subnet), measures) for subnet, measures in trained.measures.items()]
    if trained.teacher:
        rows = [("full encoder, fine-tuned", trained.teacher), *rows]
    if rows:
        names = list(rows[0][1])
        table = [[name, *(f"{measures[measure]:.4f}" for measure in names)] for name, measures in rows]
        print_table("Measures on the dev set", ["subnet", *names], table, numeric=1 + len(names))
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f"now try:  elasticdenser classify {output} FILE --exit 0.3")


def _report_intent(trained: IntentResult, output: Path) -> None:
    if trained.measures:
        row = [*(f"{value:.4f}" for value in trained.measures.values())]
        print_table("Measures on the dev set", [*trained.measures], [row], numeric=len(row))
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f"now try:  elasticdenser classify {output} FILE")


def _report_mirror(trained: MirrorResult, output: Path) -> None:
    note(f"{output}: a sentence encoder, from {trained.n_texts:,} texts without labels")
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f"now try:  elasticdenser index CORPUS --encoder {output} -o indexes/NAME")
    note(f"for subnets:  elasticdenser train --encoder {output} --passages CORPUS -o models/elastic")


def _report_pqrnn(trained: PQRNNResult, output: Path) -> None:
    note(f"{output}: a pQRNN of {trained.n_weights:,} weights for the passages of {trained.teacher}")
    note(f"mean cosine to its query vectors at the end: {trained.cosine:.3f}, with typing errors")
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f'now try:  elasticdenser search {trained.index or "INDEX"} "your question" --encoder {output}')


def _selection_rows(selection: SnapshotSelection) -> tuple[list[str], list[list[str]]]:
    """Return a table with a row for each subnet and a column for each snapshot."""
    snapshots = selection.to_json()["snapshots"]
    retention = [selection.retention_with_level0(snapshot["step"]) for snapshot in snapshots]
    rows = [[subnet, *(f"{shares[subnet]:.4f}" for shares in retention)] for subnet in retention[0]]
    rows.append(["mean", *(f"{snapshot['mean_retention']:.4f}" for snapshot in snapshots)])
    rows.append(["greatest fall", *(f"{snapshot['greatest_fall']:.4f}" for snapshot in snapshots)])
    return ["subnet", *(f"step {snapshot['step']}" for snapshot in snapshots)], rows
