"""Options of `elasticdenser serve` for the API and the page."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from serving_helpers import PROFILE
from typer.testing import CliRunner

from elasticdenser.cli import app
from elasticdenser.cli.commands import serve as serve_command
from elasticdenser.models import shipped_ranker
from elasticdenser.serving.hosts import is_allowed


@pytest.fixture
def settings_of(served_index, tiny_elastic, monkeypatch):
    """Return the settings that the command would serve with."""

    def run(*args: str):
        served = []
        monkeypatch.setattr(serve_command, "_measure_levels", lambda *_: PROFILE)
        monkeypatch.setattr(serve_command, "_serve", lambda bound, indexes, settings, *_: served.append(settings))
        command = ["serve", str(served_index), "--encoder", str(tiny_elastic), "--offline", "--port", "0", *args]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return served[0]

    return run


def test_a_server_that_has_ended_by_itself_has_an_exit_status(served_index, tiny_elastic, tmp_path, monkeypatch):
    def run(server, sockets):
        server.failure = "no search process is left: there is another index"

    monkeypatch.setattr("elasticdenser.serving.server.Server.run", run)
    PROFILE.save(tmp_path / "profile.json")
    command = ["serve", str(served_index), "--encoder", str(tiny_elastic), "--offline", "--port", "0", "--threads"]
    result = CliRunner().invoke(app, [*command, "--profile", str(tmp_path / "profile.json")])
    assert result.exit_code == 1 and "no search process is left: there is another index" in result.output


def test_defaults(settings_of):
    settings = settings_of()
    assert (settings.cors_origins, settings.token_ids, settings.hit_url) == ((), None, None)
    assert (settings.deadline_s, settings.page_deadline_s, settings.max_body_bytes) == (0.025, 0.5, 8 << 20)
    assert settings_of("--deadline-ms", "2000").page_deadline_s == 2.0


def test_options_are_passed_on(settings_of, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.token_ids._load_encoding", lambda _: None)  # would be fetched
    origins = ["--cors-origin", "https://App.example.org/", "--cors-origin", "http://localhost:3000"]
    others = ["--token-ids", "cl100k_base", "--hit-url", "https://a.example/{id}", "--page-deadline-ms", "80"]
    settings = settings_of(*origins, *others)
    assert settings.cors_origins == ("https://app.example.org", "http://localhost:3000")
    assert (settings.token_ids, settings.hit_url) == ("cl100k_base", "https://a.example/{id}")
    assert settings.page_deadline_s == 0.08


@pytest.mark.parametrize(
    ("args", "allowed"),
    [
        ([], {"localhost:1"}),
        (
            ["--allowed-host", "Search.example.org", "--allowed-host", "one.example"],
            {"search.Example.org", "one.example:80"},
        ),
        (["--allowed-host", "*"], {"two.example", "evil.example"}),
    ],
)
def test_host_names_that_are_allowed(settings_of, args, allowed):
    settings = settings_of(*args)
    names = ["localhost:1", *allowed, "two.example", "evil.example"]
    assert {name for name in names if is_allowed([name], settings.allowed_hosts)} == {"localhost:1", *allowed}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cors-origin", "app.example.org"], "got origin 'app.example.org'; expected one such as https://"),
        (["--hit-url", "https://a.example/"], "expected a URL such as https://example.org/documents/{id}"),
        (["--hit-url", "javascript:{id}"], "expected a URL such as https://example.org/documents/{id}"),
        (
            ["--page-deadline-ms", "0"],
            "got page_deadline_s = 0 (--page-deadline-ms 0); expected seconds above 0, at most 600",
        ),
        (["--page-deadline-ms", "nan"], "got page_deadline_s = nan (--page-deadline-ms nan); expected seconds above 0"),
        (["--deadline-ms", "inf"], "got deadline_s = inf (--deadline-ms inf); expected seconds above 0, at most 600"),
    ],
)
def test_bad_options_are_refused_before_any_work(served_index, args, message):
    result = CliRunner().invoke(app, ["serve", str(served_index), "--port", "0", *args])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.slow
def test_a_ranker_is_loaded_and_its_levels_are_measured(served_index, tiny_elastic, tiny_ranker, monkeypatch, tmp_path):
    served = []
    monkeypatch.setattr(serve_command, "_serve", lambda bound, indexes, *_: served.extend(indexes.values()))
    command = ["serve", str(served_index), "--encoder", str(tiny_elastic), "--offline", "--port", "0"]

    def serve(*args: str):
        result = CliRunner().invoke(app, [*command, *args])
        assert result.exit_code == 0, result.output
        return served.pop()

    ranker = ["--ranker", str(tiny_ranker)]
    retriever, profile = serve(*ranker, "--rerank", "2:w0.5-d1", "--rerank", "3:w1-d2,1:w1-d1")
    assert retriever.ranker.folder == tiny_ranker and retriever.reranker is None
    reranked = {level.parts.reranking for level in profile.levels}
    assert reranked == {"", "2:w0.5-d1", "3:w1-d2,1:w1-d1"}
    profile.save(tmp_path / "profile.json")
    assert serve(*ranker, "--profile", str(tmp_path / "profile.json"))[1].levels == profile.levels
    retriever, profile = serve(*ranker)
    assert retriever.ranker.folder == tiny_ranker and not any(level.parts.stages for level in profile.levels)
    monkeypatch.setattr(shipped_ranker, "SHIPPED_RANKER", tmp_path)
    without = CliRunner().invoke(app, [*command, "--profile", str(tmp_path / "profile.json")])
    assert without.exit_code == 1 and "--ranker FOLDER" in without.output.replace("\n", " ")


@pytest.mark.slow
def test_keys_come_from_files_or_the_environment(settings_of, tmp_path, monkeypatch):
    assert (settings_of().api_key, settings_of().write_key) == (None, None)
    (tmp_path / "key").write_text("wr1te\n")
    assert settings_of("--write-key-file", str(tmp_path / "key")).write_key == "wr1te"
    monkeypatch.setenv("ELASTICDENSER_WRITE_KEY", "from the environment")
    monkeypatch.setenv("ELASTICDENSER_API_KEY", "s3cret")
    settings = settings_of()
    assert (settings.api_key, settings.write_key) == ("s3cret", "from the environment")
    assert settings_of("--api-key-file", str(tmp_path / "key")).api_key == "wr1te"


def test_a_fault_of_a_key_file_names_the_key(served_index, tmp_path):
    (tmp_path / "key").touch()
    result = CliRunner().invoke(app, ["serve", str(served_index), "--write-key-file", str(tmp_path / "key")])
    assert result.exit_code != 0 and "expected the write key, in one line" in f"{result.output}{result.exception}"


@pytest.fixture
def served_by(served_index, tiny_elastic, monkeypatch):
    """Return what the command would serve: retriever and profile by name."""

    def run(*args: str, expected: int = 0):
        served = []
        monkeypatch.setattr(serve_command, "_measure_levels", lambda *_: PROFILE)
        monkeypatch.setattr(serve_command, "_serve", lambda bound, indexes, *_: served.append(indexes))
        result = CliRunner().invoke(app, ["serve", "--encoder", str(tiny_elastic), "--offline", "--port", "0", *args])
        assert result.exit_code == expected, result.output
        return served[0] if expected == 0 else result.stderr.splitlines()[-1]

    return run


@pytest.mark.slow
def test_several_indexes_share_their_encoder(served_by, served_index, tmp_path):
    index = str(served_index)
    assert list(served_by(index)) == ["mine"]
    own = replace(PROFILE, levels=PROFILE.levels[:1])
    own.save(tmp_path / "profile.json")
    served = served_by(index, f"other={index}", "--profile", f"other={tmp_path / 'profile.json'}")
    assert list(served) == ["mine", "other"]
    assert served["mine"][0].encoder is served["other"][0].encoder
    assert served["mine"][1] is PROFILE and len(served["other"][1].levels) == 1
    assert served["other"][0].opener().index.path == served_index  # as a search process opens it
    odd = tmp_path / "odd name=x"
    odd.symlink_to(served_index)
    assert list(served_by(str(odd))) == ["mine"]  # the folder that it leads to


def test_an_index_may_have_an_encoder_of_its_own(served_by, served_index, tiny_elastic, tmp_path):
    own, index = tmp_path / "own", str(served_index)
    shutil.copytree(tiny_elastic, own)
    served = served_by(index, f"other={index}", f"third={index}", "--encoder", f"other={own}")
    folders = {name: retriever.encoder.location.path for name, (retriever, _) in served.items()}
    assert folders == {"mine": tiny_elastic, "other": own, "third": tiny_elastic}
    assert served["mine"][0].encoder is served["third"][0].encoder
    assert served["other"][0].opener().encoder.location.path == own  # as a search process opens it
    for more, message in (
        (f"none={own}", f"got encoder 'none={own}'; expected an encoder, or NAME=ENCODER with the name of an index: m"),
        ("mine=", "got encoder 'mine='; expected an encoder, or NAME=ENCODER"),
        (str(own), "got two encoders for all indexes; expected one"),
    ):
        assert message in served_by(index, "--encoder", more, expected=1)


@pytest.mark.slow
def test_all_indexes_and_their_encoders_are_checked_before_levels_are_measured(served_index, tiny_elastic, monkeypatch):
    measured = []
    monkeypatch.setattr(serve_command, "_measure_levels", lambda *_: measured.append(1))
    index = str(served_index)
    command = ["serve", index, f"other={index}", "--encoder", str(tiny_elastic), "--offline", "--port", "0"]
    for args, message in (
        (["last=none"], "none does not exist: build an index"),
        (["--encoder", "other=none"], "none"),
        (["--policy", "static:none"], "none"),
        (["--token-ids", "none"], "token ids 'none'"),
    ):
        result = CliRunner().invoke(app, [*command, *args])
        assert result.exit_code == 1 and message in result.stderr.splitlines()[-1], result.output
    assert not measured


@pytest.mark.slow
def test_names_of_indexes_are_checked(served_by, served_index, tmp_path):
    index = str(served_index)
    for args, message in (
        ((index, index), "got two indexes with the name mine; expected one"),
        ((f"a b={index}",), "got 'a b' as the name of an index; expected up to 64 letters"),
        ((f"={index}",), "got '' as the name of an index"),
        (("other=",), "got 'other='; expected NAME=PATH"),
        ((index, f"other={tmp_path / 'none'}"), "none does not exist: build an index"),
        ((index, f"other={index}", "--profile", "profile.json"), "expected NAME=FILE with the name of an index: mine"),
        ((index, f"other={index}", "--profile", "none=profile.json"), "expected NAME=FILE"),
    ):
        line = served_by(*args, expected=1)
        assert line.startswith("error: ") and message in line, line
