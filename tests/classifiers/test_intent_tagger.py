"""Intents and slots of texts, by every body, and models that are damaged."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from intent_helpers import write_intent_model

from elasticdenser.classifiers import IntentTagger
from elasticdenser.classifiers.intent_inputs import IntentReader
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.int8_rows import dequantise, quantise

TEXTS = ["wait for the planet", "sort", "Sort the file: now, and lock it."]
BODIES = ("encoder", "pqrnn", "lstm")


@pytest.fixture(scope="module", params=BODIES)
def tagger(request, tiny_model, tmp_path_factory):
    folder = write_intent_model(tmp_path_factory.mktemp("models") / request.param, tiny_model, request.param)
    return IntentTagger.from_pretrained(folder, device="cpu")


def test_each_word_has_a_tag_and_each_text_an_intent(tagger):
    parses = tagger.parse(TEXTS)
    assert [len(parse.tags) for parse in parses] == [4, 1, 10]
    assert all(parse.intent in ("SORT", "WAIT") and 0.5 <= parse.probability <= 1 for parse in parses)
    assert all(parse.frame.startswith(f"[IN:{parse.intent} ") for parse in parses)
    assert {slot.name for parse in parses for slot in parse.slots} <= {"PLACE", "PLACE>GET_PLACE>NAME"}


def test_an_answer_does_not_depend_on_the_other_texts(tagger):
    words = [["wait", "for", "the", "planet"], ["sort"], ["sort", "the", "file"]]
    intents, tags = tagger.outputs(words)
    for row, of_text in enumerate(words):
        alone_intents, alone_tags = tagger.outputs([of_text])
        torch.testing.assert_close(intents[row], alone_intents[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tags[row, : len(of_text)], alone_tags[0], atol=1e-4, rtol=1e-4)


def test_weights_are_those_of_eight_bits(tagger):
    for name, tensor in tagger._model.state_dict().items():
        if tensor.dim() > 1:
            stored = dequantise(quantise(name, tensor))[name]
            torch.testing.assert_close(tensor, stored, atol=1e-6, rtol=1e-5)
    assert tagger.n_bytes < 2 * tagger.n_parameters + 10_000
    assert tagger.manifest.shape.kind in repr(tagger)


def test_a_word_of_several_tokens_is_read_at_its_first(tiny_model, tmp_path):
    folder = write_intent_model(tmp_path / "lstm", tiny_model, "lstm")
    tagger = IntentTagger.from_pretrained(folder, device="cpu")
    inputs = tagger.reader.read([["ab", "c", "de"], ["f"]])  # tokens: [CLS] a ##b c d ##e [SEP]
    assert inputs.places.tolist() == [[1, 3, 4], [1, 0, 0]]
    assert inputs.word_mask.tolist() == [[True, True, True], [True, False, False]]
    assert inputs.mask.sum(dim=1).tolist() == [7, 3]


def test_words_beyond_the_longest_text_still_have_tags(tagger):
    reader = IntentReader(tagger.folder, tagger.manifest.shape, 4)
    inputs = reader.read([["a", "b", "c", "d", "e", "f"]])
    assert inputs.values.shape[1] == 4 and inputs.places.shape == (1, 6) and int(inputs.places.max()) < 4
    (parse,) = tagger.parse([" ".join("abcdefghij" * 9)])
    assert len(parse.tags) == 90


def test_wrong_questions_are_refused(tagger):
    with pytest.raises(QueryError, match="got one string, expected a list"):
        tagger.parse("sort")
    with pytest.raises(QueryError, match="got a text without words"):
        tagger.parse(["sort", " "])
    for texts in ("sort", ["sort the file"]):
        with pytest.raises(QueryError, match="got a string, expected lists of words"):
            tagger.parse_words(texts)
    assert tagger.parse([]) == []


def test_a_damaged_model_is_refused(tiny_model, tmp_path):
    folder = write_intent_model(tmp_path / "model", tiny_model)

    def changed(change):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        content = json.loads((copy / "intent.json").read_text())
        change(content)
        (copy / "intent.json").write_text(json.dumps(content))
        return copy

    for change, message in (
        (lambda content: content.update(format=9), "got format 9, expected 1"),
        (lambda content: content["body"].update(lstm={}), "got none or several"),
        (lambda content: content["body"].clear(), "got none or several"),
        (lambda content: content["body"]["pqrnn"]["model"].update(hidden=9), "as its intent.json says"),
        (lambda content: content["settings"].update(intents=[]), "at least 1"),
        (lambda content: content["settings"]["tags"].pop(), "tag_head"),
    ):
        with pytest.raises(ModelError, match=message):
            IntentTagger.from_pretrained(changed(change))
    (folder / "intent.safetensors").unlink()
    with pytest.raises(ModelError, match=r"intent.safetensors is missing"):
        IntentTagger.from_pretrained(folder)
    with pytest.raises(ModelError, match=r"intent.json is missing: give the folder"):
        IntentTagger.from_pretrained(tmp_path)
