"""Measures of intents and slots, by hand-made cases."""

from __future__ import annotations

import pytest

from elasticdenser.classifiers.intent_tagger import Parse
from elasticdenser.datasets.intents import TASKS
from elasticdenser.datasets.intents.frames import frame_of
from elasticdenser.datasets.intents.utterances import framed_utterance, plain_utterance, tagged_utterance
from elasticdenser.evaluation.intent_results import IntentCell, IntentResults
from elasticdenser.evaluation.intents import main_measure, measure_parses, slot_f1


@pytest.mark.parametrize(
    ("expected", "found", "f1"),
    [
        (["B-a", "I-a", "O"], ["B-a", "I-a", "O"], 1.0),
        (["B-a", "I-a", "O"], ["B-a", "O", "O"], 0.0),  # another end
        (["B-a", "I-a", "O"], ["B-b", "I-b", "O"], 0.0),  # another name
        (["B-a", "B-a"], ["B-a", "I-a"], 0.0),  # two spans, not one
        (["B-a", "O", "B-b"], ["B-a", "O", "O"], 2 / 3),  # precision 1, recall 1/2
        (["B-a", "O", "O"], ["I-a", "O", "B-b"], 2 / 3),  # precision 1/2, recall 1
        (["O", "O"], ["O", "B-a"], 0.0),
        (["O"], ["O"], 1.0),
    ],
)
def test_slot_f1_counts_whole_spans(expected, found, f1):
    assert slot_f1([expected], [found]) == pytest.approx(f1)


def test_slot_f1_is_over_all_texts():
    # Three spans expected, two found, one right: 2 * 1 / (3 + 2).
    assert slot_f1([["B-a", "B-b"], ["B-a"]], [["B-a", "O"], ["B-b"]]) == pytest.approx(0.4)


def answer(utterance, intent, tags):
    frame = frame_of(intent, utterance.words, tags)
    return Parse(intent=intent, probability=1.0, slots=(), tags=tuple(tags), frame=frame)


def test_exact_match_wants_intent_and_slots():
    utterances = [tagged_utterance(["a", "b"], "x", ["B-s", "O"])] * 3
    parses = [
        answer(utterances[0], "x", ["B-s", "O"]),
        answer(utterances[0], "x", ["B-s", "I-s"]),
        answer(utterances[0], "y", ["B-s", "O"]),
    ]
    measures = measure_parses(utterances, parses, TASKS["snips"])
    assert measures == pytest.approx({"intent accuracy": 2 / 3, "slot F1": 2 / 3, "exact match": 1 / 3})


def test_a_frame_that_tags_cannot_express_is_never_matched():
    utterance = framed_utterance("remind me at work", "[IN:REMIND [SL:LOCATION [IN:GET_LOCATION ] ] ]")
    measures = measure_parses([utterance], [answer(utterance, "REMIND", utterance.tags)], TASKS["mtop"])
    assert measures == {"intent accuracy": 1.0, "slot F1": 1.0, "exact match": 0.0}


def test_without_slots_there_is_the_accuracy_alone():
    utterance = plain_utterance("where is it?", "find")
    task = TASKS["clinc150"]
    assert measure_parses([utterance], [answer(utterance, "find", utterance.tags)], task) == {"intent accuracy": 1.0}
    assert (main_measure(task), main_measure(TASKS["mtop"])) == ("intent accuracy", "exact match")


def test_the_share_of_the_teacher_is_that_of_the_score():
    def cell(system, score):
        figures = {"n_utterances": 1, "body": "pqrnn", "n_parameters": 1, "n_bytes": 1}
        return IntentCell(system=system, task="mtop", measures={}, score=score, **figures)

    cells = (cell("encoder", 0.8), cell("pqrnn", 0.6))
    results = IntentResults(title="", split="test", teacher="encoder", tasks=("mtop", "snips"), cells=cells)
    assert results.share_of_teacher(cells[1]) == pytest.approx(0.75)
    assert results.evaluated_tasks == ["mtop"] and results.cell("pqrnn", "snips") is None
    alone = IntentResults(title="", split="test", teacher="encoder", tasks=("mtop",), cells=cells[1:])
    assert alone.share_of_teacher(cells[1]) is None
