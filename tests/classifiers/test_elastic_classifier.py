"""ElasticClassifier: answers of each subnet, early exits, files, and what is refused."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from classifier_helpers import write_classifier

from elasticdenser import ElasticClassifier, Subnet
from elasticdenser.classifiers import ExitRule
from elasticdenser.classifiers.inputs import InputTokenizer
from elasticdenser.errors import BuildError, ModelError, QueryError
from elasticdenser.models.tokenizer import load_tokenizer

PAIRS = [("dune is a novel", "a desert"), ("csv", "file " * 60), ("wait", "lock and wait for it")]


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("classifiers") / "rte", tiny_model)


@pytest.fixture(scope="module")
def classifier(folder):
    return ElasticClassifier.from_pretrained(folder, device="cpu")


def test_each_subnet_gives_its_most_probable_class(classifier):
    outputs, lengths = classifier.outputs(PAIRS)
    assert list(outputs) == classifier.subnets and lengths[1] == 48
    seen = set()
    for subnet in classifier.subnets:
        predictions = classifier.classify(PAIRS, str(subnet))
        for prediction, logits, length in zip(predictions, outputs[subnet], lengths, strict=True):
            probabilities = logits.softmax(dim=0).tolist()
            assert list(prediction.probabilities.values()) == pytest.approx(probabilities, abs=1e-5)
            assert prediction.label == classifier.labels[int(logits.argmax())]
            assert prediction.probability == max(prediction.probabilities.values())
            assert prediction.subnet == subnet and prediction.value is None
            assert prediction.flops == classifier.flops([subnet], length)[0]
        seen.add(predictions[0].probability)
    assert len(seen) == len(classifier.subnets)


def test_neighbours_change_no_answer(classifier):
    alone = classifier.classify(PAIRS[:1])[0]
    together = classifier.classify(PAIRS)[0]
    assert alone.probability == pytest.approx(together.probability, abs=1e-5)
    assert classifier.classify([]) == []


def test_tokens_of_a_pair_are_those_of_the_tokenizer(classifier, folder):
    vocabulary = classifier.manifest.shape.vocabulary
    found = InputTokenizer(folder, vocabulary, 48).tokenize([PAIRS[0], "dune", ["dune"]])
    encoding = load_tokenizer(folder, 48).encode(*PAIRS[0])
    assert [token % vocabulary for token in found[0]] == encoding.ids
    assert [token // vocabulary for token in found[0]] == encoding.type_ids and 1 in encoding.type_ids
    assert found[1] == found[2] == load_tokenizer(folder, 48).encode("dune").ids


def test_an_exit_always_taken_is_the_smallest_subnet(classifier):
    first = classifier.classify(PAIRS, "w0.5-d2", ExitRule(entropy=1))
    assert {prediction.subnet for prediction in first} == {Subnet(0.5, 1)}
    smallest = classifier.classify(PAIRS, "w0.5-d1")
    assert [answer.flops for answer in first] == [answer.flops for answer in smallest]
    last = classifier.classify(PAIRS, "w0.5-d2", ExitRule(entropy=0))
    assert {prediction.subnet for prediction in last} == {Subnet(0.5, 2)}
    # The exit that was asked in vain is counted: of one more exit than without early exits.
    alone = classifier.classify(PAIRS, "w0.5-d2")
    assert all(answer.flops > single.flops for answer, single in zip(last, alone, strict=True))


def test_a_higher_threshold_costs_less(classifier):
    costs = [
        sum(answer.flops for answer in classifier.classify(PAIRS, exits=ExitRule(entropy=threshold)))
        for threshold in (0.0, 0.5, 0.9, 1.0)
    ]
    assert all(more >= less for more, less in pairwise(costs)) and costs[0] > costs[-1]


def test_a_regression_gives_numbers(tiny_model, tmp_path):
    model = ElasticClassifier.from_pretrained(write_classifier(tmp_path / "sts", tiny_model, task="STS-B"))
    outputs, _ = model.outputs(PAIRS)
    answers = model.classify(PAIRS)
    assert [answer.value for answer in answers] == pytest.approx(
        (5 * outputs[model.subnets[0]][:, 0]).tolist(), abs=1e-4
    )
    assert answers[0].label == "" and answers[0].probability == 1
    with pytest.raises(QueryError, match="regression"):
        model.classify(PAIRS, exits=ExitRule(entropy=0.5))


def test_only_trained_subnets_are_offered(tiny_model, tmp_path):
    folder = write_classifier(tmp_path / "alone", tiny_model, subnets=("w0.5-d1",), layers="first-and-last")
    model = ElasticClassifier.from_pretrained(folder)
    assert [*map(str, model.subnets)] == ["w0.5-d1"] and model.classify(PAIRS)[0].subnet == Subnet(0.5, 1)
    with pytest.raises(QueryError, match=r"got subnet w1-d2, expected one of this classifier's: w0.5-d1"):
        model.classify(PAIRS, "w1-d2")


def test_wrong_inputs_are_refused(classifier):
    with pytest.raises(QueryError, match="got one string, expected a list"):
        classifier.classify("dune")
    with pytest.raises(QueryError, match="expected a text or a pair of two texts"):
        classifier.classify([("a", "b", "c")])
    with pytest.raises(QueryError, match="expected a text or a pair"):
        classifier.classify([3])


def test_damaged_and_foreign_folders_are_refused(folder, tiny_model, tmp_path):
    with pytest.raises(ModelError, match="there is no folder"):
        ElasticClassifier.from_pretrained(tmp_path / "none")
    with pytest.raises(ModelError, match=r"classifier.json is missing"):
        ElasticClassifier.from_pretrained(tiny_model)
    with pytest.raises(BuildError, match="something other than an elastic classifier"):
        write_classifier(tiny_model, tiny_model)
    manifest = json.loads((folder / "classifier.json").read_text())
    for key, value in (("max_length", 4096), ("subnets", ["w1-d9"]), ("labels", ["one"])):
        changed = write_classifier(tmp_path / key, tiny_model)
        settings = manifest["settings"] | {key: value}
        (changed / "classifier.json").write_text(json.dumps(manifest | {"settings": settings}))
        with pytest.raises(ModelError, match=r"classifier.json: got"):
            ElasticClassifier.from_pretrained(changed)


def test_numbers_that_are_not_finite_are_an_error(tiny_model, tmp_path):
    model = ElasticClassifier.from_pretrained(write_classifier(tmp_path / "nan", tiny_model))
    with torch.no_grad():
        model._model.exit_bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        model.classify(PAIRS)
