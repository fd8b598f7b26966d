"""Settings of an encoder that the caller overrides."""

from __future__ import annotations

import pytest

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import count_of
from elasticdenser.models.model_files import read_json
from elasticdenser.models.settings import read_settings


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pooling": "median"}, "got pooling = 'median' of the encoder's settings, expected 'mean' or 'cls' or 'max'"),
        ({"pooling": 1}, "got pooling = 1"),
        ({"dim": 0}, "got dim = 0, expected 1 to 32, the dimensions of this encoder"),
        ({"dim": 33}, "got dim = 33, expected 1 to 32"),
        ({"dim": True}, "got dim = True of the encoder's settings, expected int"),
        ({"similarity": "euclidean"}, "got similarity = 'euclidean' of the encoder's settings, expected 'cosine' or"),
        ({"query_prompt": "\ud800"}, "query_prompt: got .* not Unicode text"),
        ({"color": "red"}, "got the unknown encoder settings color, expected some of pooling, normalize"),
        ({"normalize": "no"}, "got normalize = 'no' of the encoder's settings, expected bool"),
        ({"query_prompt": 3}, "got query_prompt = 3 of the encoder's settings, expected str"),
        ({"max_length": 12.5}, "got max_length = 12.5 of the encoder's settings, expected int"),
        ({"max_length": 65}, "got a maximum length of 65, expected 3 to 64 tokens"),
        ({"max_length": 2}, "got a maximum length of 2"),
    ],
)
def test_bad_overrides_are_refused(tiny_model, overrides, message):
    with pytest.raises(ModelError, match=message):
        read_settings(tiny_model, **overrides)


def test_overrides_replace_settings(tiny_model):
    overrides = {"pooling": "cls", "normalize": False, "max_length": 9, "query_prompt": "q: ", "passage_prompt": None}
    settings = read_settings(tiny_model, **overrides)
    assert (settings.pooling, settings.normalize, settings.max_length) == ("cls", False, 9)
    assert (settings.query_prompt, settings.passage_prompt) == ("q: ", "")


@pytest.mark.parametrize("value", ["6", 2.5, 0, -1, True])
def test_bad_counts_in_the_config_are_refused(value):
    with pytest.raises(ModelError, match=r"config.json has n = .*, expected a whole number above 0"):
        count_of({"n": value}, "m", "n")


def test_deeply_nested_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match="is not JSON"):
        read_json(tmp_path / "a.json")
