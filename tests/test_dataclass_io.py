"""Reading of JSON and TOML into dataclasses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from elasticdenser.dataclass_io import check_keys, from_value, loads_json, read_tables, read_toml
from elasticdenser.errors import BadInputError, ModelError, QueryError


@dataclass(frozen=True, kw_only=True)
class Level:
    name: str
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.name == "":
            raise ValueError("the name is empty: give one")
        if self.name == "none":
            raise QueryError("there is no such level")


@dataclass(frozen=True, kw_only=True)
class Settings:
    k: Annotated[int, Meta(ge=1, le=1000)] = 10
    weight: Annotated[float, Meta(gt=0)] = 1.0
    measures: Annotated[tuple[str, ...], Meta(min_length=1)] = ("RR@10",)
    subnet: str | Annotated[tuple[str, ...], Meta(min_length=1)] = ""
    exact: bool = False
    levels: tuple[Level, ...] = ()
    by_name: dict[str, Level] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    limit: float | None = None
    share: Annotated[float, Meta(ge=0, lt=1)] | None = None
    pair: tuple[int, Level] | None = None
    derived: int = field(default=0, init=False)


def test_a_value_becomes_a_dataclass_with_tuples_floats_and_whole_numbers_as_keys():
    value = {
        "k": 5,
        "weight": 2,
        "measures": ["R@5", "AP"],
        "subnet": ["level0"],
        "levels": [{"name": "a"}],
        "by_name": {"b": {"name": "b", "share": 0}},
        "curve": {"10": 0.5},
        "limit": None,
        "pair": [1, {"name": "c"}],
    }
    assert from_value(Settings, value, "settings") == Settings(
        k=5,
        weight=2.0,
        measures=("R@5", "AP"),
        subnet=("level0",),
        levels=(Level(name="a"),),
        by_name={"b": Level(name="b", share=0.0)},
        curve={10: 0.5},
        pair=(1, Level(name="c")),
    )
    assert isinstance(from_value(Settings, {"weight": 2}, "settings").weight, float)
    assert from_value(tuple[int, ...], [1, 2], "numbers") == (1, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"k": 0}, "settings.k: got 0, expected at least 1 and at most 1000"),
        ({"k": 1001}, "settings.k: got 1001, expected at least 1 and at most 1000"),
        ({"k": 1.0}, "settings.k: got 1.0, expected a value of type int"),
        ({"k": True}, "settings.k: got True, expected a value of type int"),
        ({"k": "1"}, "settings.k: got '1', expected a value of type int"),
        ({"k": None}, "settings.k: got None, expected a value of type int"),
        ({"weight": 0}, "settings.weight: got 0, expected more than 0"),
        ({"weight": float("nan")}, "settings.weight: got nan, expected more than 0"),
        ({"exact": 1}, "settings.exact: got 1, expected a value of type bool"),
        ({"measures": []}, "settings.measures: got [], expected a list with at least 1 item"),
        ({"measures": "AP"}, "settings.measures: got 'AP', expected a list"),
        ({"measures": ["AP", 1]}, "settings.measures[1]: got 1, expected a value of type str"),
        ({"subnet": 0.5}, "settings.subnet: got 0.5, expected a value of type str or a list"),
        ({"subnet": ["level0", 1]}, "settings.subnet[1]: got 1, expected a value of type str"),
        ({"subnet": []}, "settings.subnet: got [], expected a list with at least 1 item"),
        ({"share": 1}, "settings.share: got 1, expected at least 0 and less than 1"),
        ({"limit": "x"}, "settings.limit: got 'x', expected a value of type float or null"),
        ({"levels": [{"name": "a"}, {}]}, "settings.levels[1]: 'name' is missing: add it"),
        ({"levels": {"name": "a"}}, "settings.levels: got {'name': 'a'}, expected a list"),
        ({"levels": [{"name": ""}]}, "settings.levels[0]: got {'name': ''}: the name is empty: give one"),
        ({"by_name": {"b": {"name": 3}}}, "settings.by_name.b.name: got 3, expected a value of type str"),
        ({"values": {"RR": {"q1": 1, "q2": "x"}}}, "settings.values.RR.q2: got 'x', expected a value of type float"),
        ({"curve": {"ten": 1}}, "settings.curve: got the keys ['ten'], expected each to be a value of type int"),
        ({"kk": 1}, "settings: unknown key 'kk', expected some of k, weight, measures, subnet, exact, levels"),
        ({"measure": []}, "did you mean 'measures'?"),
        ({"": 1}, "settings: unknown key '', expected some of"),
        ({"derived": 1}, "settings: unknown key 'derived'"),
        ({"levels": [{"name": "a", "x": 1}]}, "settings.levels[0]: unknown key 'x', expected some of name, share"),
        ({"by_name": {"b": {"nam": "b"}}}, "settings.by_name.b: unknown key 'nam'"),
        ({"pair": [1, {"name": "a", "x": 1}]}, "settings.pair[1]: unknown key 'x'"),
        ({"measures": "x" * 100}, "settings.measures: got 'xxxxxxxxx"),
        ([1], "settings: got [1], expected a table"),
        (None, "settings: got None, expected a table"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value, message):
    with pytest.raises(BadInputError) as raised:
        from_value(Settings, value, "settings")
    assert message in str(raised.value)
    assert len(str(raised.value)) < 200 and "`" not in str(raised.value)


def test_keys_of_a_plain_dictionary_can_be_checked():
    check_keys({"k": 1}, ("k", "title"), "suite")
    with pytest.raises(ModelError, match=r"^suite: unknown key 'titel', expected some of k, title: did you mean"):
        check_keys({"titel": 1}, ("k", "title"), "suite", ModelError)


def test_the_type_of_the_error_is_the_caller_s_and_errors_of_the_package_pass_unchanged():
    with pytest.raises(ModelError, match="manifest: got 1, expected a table"):
        from_value(Settings, 1, "manifest", ModelError)
    with pytest.raises(QueryError, match=r"^there is no such level$"):
        from_value(Level, {"name": "none"}, "level")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ('{"a": NaN}', "NaN, which is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity, which is not a JSON number"),
        ('{"a": 1e999}', "1e999, which is not a finite number"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' twice"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff", "decode"),
    ],
)
def test_json_is_strict(text, message):
    with pytest.raises(ValueError, match=message):
        loads_json(text)
    assert loads_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "settings.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "this is not TOML"),
        ("a = nan", "nan, which is not a finite number"),
        ("a = 1e999", "1e999, which is not a finite number"),
        (b"a = '\xff'", "this is not TOML"),
        ("a = " + "[" * 10_000, "nested too deeply"),
        ("k = 0", "settings.k: got 0, expected at least 1 and at most 1000"),
    ],
)
def test_an_error_in_a_toml_file_names_the_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(BadInputError) as raised:
        read_toml(path, "suite", lambda value: from_value(Settings, value, "settings"))
    assert str(raised.value).startswith(f"{path}: ") and message in str(raised.value)


def test_a_toml_file_is_read_also_with_a_byte_order_mark_and_a_missing_one_is_an_error(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbfk = 3")
    assert read_toml(path, "suite", lambda value: from_value(Settings, value, "settings")) == Settings(k=3)
    with pytest.raises(BadInputError, match=r"none.toml: cannot read this suite \(No such file"):
        read_toml(tmp_path / "none.toml", "suite", dict)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "there are no systems: expected at least one table [systems.NAME]"),
        ({"systems": {}}, "there are no systems"),
        ({"systems": [{}]}, "there are no systems"),
        ({"systems": {"a": 1}}, "systems.a: got 1, expected a table [systems.a]"),
        ({"systems": {"a/b": {}}}, "the name 'a/b' of a table in systems cannot be part of a file name"),
    ],
)
def test_named_tables(value, message):
    with pytest.raises(BadInputError) as raised:
        read_tables(value, "systems")
    assert message in str(raised.value)
    assert read_tables({"systems": {"a": {"k": 1}}}, "systems") == {"a": {"k": 1}}


def test_two_threads_may_read_the_first_values_of_a_type_at_once():
    program = Path(__file__).parent / "helpers" / "first_conversion.py"
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
