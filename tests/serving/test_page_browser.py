"""The page in a real browser: searches, the charts of the last minute, the API key, and errors."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
from ci_needs import require
from serving_helpers import PROFILE, live_server, post
from waiting import LONG_DEADLINE_S

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.reports.level_colours import level_colour
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

pytestmark = pytest.mark.slow


def expect(page, selector: str):
    """Return an assertion that waits; playwright's `wait_for_function` needs scripts that the page's policy forbids."""
    from playwright.sync_api import expect

    return expect(page.locator(selector))


@pytest.fixture(scope="module")
def browser():
    require(importlib.util.find_spec("playwright"), "needs pip install 'elasticdenser[browser]'")
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    require(executable, f"needs a browser, such as Debian's chromium: one of {', '.join(_BROWSERS)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers do not allow chromium's sandbox, and the page is our own.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, retriever, engine):
    """Open the page of a new server; `page.errors` collects exceptions and errors on the console."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def open_it(scheme: str = "light", own_retriever=None, **settings):
            defaults = {
                "log": False,
                "title": "mine",
                "deadline_s": LONG_DEADLINE_S,
                "page_deadline_s": LONG_DEADLINE_S,
            }
            settings = ServeSettings(**{**defaults, **settings})
            if own_retriever is None:
                app = make_app(engine, retriever, settings)
            else:
                own_engine = stack.enter_context(RetrievalEngine(own_retriever, PROFILE, workers=1))
                app = make_app(own_engine, own_retriever, settings)
            url = stack.enter_context(live_server(app))
            context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
            page = context.new_page()
            stack.callback(context.close)
            page.errors = []
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.on("console", lambda entry: page.errors.append(entry.text) if entry.type == "error" else None)
            page.goto(url)
            return page, url

        yield open_it


def test_without_a_browser_the_tests_are_skipped_but_fail_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a browser"):
        require(None, "needs a browser")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs a browser: the variable CI is set"):
        require(None, "needs a browser")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_search_and_the_charts(open_page, scheme):
    page, url = open_page(scheme)
    page.wait_for_selector(".connection.up")
    assert page.title() == page.text_content("h1") == "mine"
    assert page.text_content("#passages") == "3 passages"
    expect(page, "#level").to_contain_text("no query in the last minute")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("desert planet")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits li")
    assert page.locator("#hits li").count() == 3
    hits = page.text_content("#hits")
    assert "dune is a novel about a desert planet" in hits
    assert "read a csv file with <b>headers</b> & more" in hits  # as text, not as markup
    assert "w1-d2 answered in" in page.text_content("#message")
    post(f"{url}/search", {"queries": [f"query {number}" for number in range(40)]})
    page.wait_for_selector("#load path.curve")
    expect(page, "#level-now").to_contain_text("w1-d2")
    expect(page, "#latency-now").to_contain_text("p99")
    assert page.text_content("#legend") == "w1-d2"
    colour = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--level-best')")
    assert colour == level_colour(0, 2, is_dark=scheme == "dark")
    assert page.locator("svg[role=img][aria-label]").count() == 3
    assert page.errors == []


def test_a_search_does_not_move_the_layout(open_page):
    page, _ = open_page()
    page.wait_for_selector(".connection.up")
    script = "['#search', '#hits', '#load', '#level', '#latency'].map((id) => document.querySelector(id)" + (
        ".getBoundingClientRect()).map((box) => [box.x, box.y, box.width])"
    )
    boxes = page.evaluate(script)
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    expect(page, "#legend").not_to_be_empty()
    assert page.evaluate(script) == boxes


def test_errors_are_shown(open_page):
    page, _ = open_page()
    page.press("#query", "Enter")
    assert page.text_content("#message") == "Type a question first."
    page.evaluate("document.querySelector('#query').removeAttribute('maxlength')")
    page.fill("#query", "x" * 10_001)
    page.press("#query", "Enter")
    page.wait_for_selector("#message.error")
    assert "expected at most 10,000" in page.text_content("#message")


def test_a_rejected_query_is_shown(open_page):
    page, _ = open_page()
    page.wait_for_selector("#intro:not([hidden])")
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    assert page.is_hidden("#intro")
    page, _ = open_page(deadline_s=1e-6, page_deadline_s=1e-6)
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    expect(page, "#message.error").to_contain_text("Rejected")
    expect(page, "#load-now").to_contain_text("rejected of")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_not_wider_than_the_window(open_page, width):
    page, _ = open_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width < 860:  # the charts are below the hits
        expect(page, "#summary").to_contain_text("per second")
    assert page.is_visible("#summary") == (width < 860)


def test_the_page_asks_for_the_api_key(open_page):
    page, _ = open_page(api_key="s3cret")
    page.wait_for_selector("#key-form:not([hidden])")
    page.fill("#key", "s3cret")
    page.press("#key", "Enter")
    page.wait_for_selector(".connection.up")
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")


LONG_TEXT = f"{'It begins with many words that nobody asked for. ' * 8}Dune was written by Herbert. Then it ends."


@pytest.fixture(scope="module")
def linked_retriever(tiny_elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("linked")
    texts = {
        "https://example.org/a?b=1&c": ("Dune", "It is 🏜 dry. Dune was written by Herbert. Then it ends."),
        "javascript:alert(1)": ("", "A single sentence"),
        "x/1 $&": ("Long", LONG_TEXT),
    }
    lines = (json.dumps({"_id": key, "title": title, "text": text}) for key, (title, text) in texts.items())
    (folder / "corpus.jsonl").write_text("\n".join(lines).replace(" $&", "$&"), encoding="utf-8")
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    PassageIndex.build(folder / "corpus.jsonl", folder / "mine", encoder, workers=1)
    return Retriever.open(folder / "mine", encoder=str(tiny_elastic), device="cpu", download=False)


def search_on(page, query: str):
    page.wait_for_selector(".connection.up")
    page.fill("#query", query)
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    page.wait_for_selector("#hits mark")


def test_hits_show_their_id_link_and_best_sentence(open_page, linked_retriever):
    page, _ = open_page(own_retriever=linked_retriever)
    search_on(page, "Dune was written by Herbert.")
    links = page.evaluate("[...document.querySelectorAll('#hits a')].map((link) => [link.textContent, link.href])")
    assert links == [["https://example.org/a?b=1&c"] * 2]  # and not the script
    for doc_id in ("javascript:alert(1)", "x/1$&"):
        assert doc_id in page.text_content("#hits")
    # Beyond the basic plane of Unicode a character is two of JavaScript's.
    assert page.locator("#hits mark").all_text_contents() == ["Dune was written by Herbert."] * 2
    assert sorted(page.locator("#hits p").all_text_contents()) == sorted(
        ["It is 🏜 dry. Dune was written by Herbert. Then it ends.", "A single sentence", LONG_TEXT]
    )
    long = page.locator("#hits li").filter(has_text="It begins with")
    assert not long.locator(".before").is_visible() and long.locator("mark").is_visible()
    long.locator("button").click()
    assert long.locator(".before").is_visible()
    assert page.errors == []


def test_ids_are_links_by_a_template(open_page, linked_retriever):
    page, _ = open_page(own_retriever=linked_retriever, hit_url="https://docs.example/{id}?q")
    search_on(page, "dune")
    links = page.evaluate("[...document.querySelectorAll('#hits a')].map((link) => link.href)")
    assert sorted(links) == [
        "https://docs.example/https%3A%2F%2Fexample.org%2Fa%3Fb%3D1%26c?q",
        "https://docs.example/javascript%3Aalert(1)?q",
        "https://docs.example/x%2F1%24%26?q",
    ]


def test_a_single_query_is_a_point_and_has_the_deadline_of_the_page(open_page):
    page, _ = open_page(deadline_s=0.02, page_deadline_s=4.0)
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.wait_for_selector(".connection.up")
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    assert sent[0] == {"query": "planet", "deadline_ms": 4000}
    expect(page, "#latency circle.point").to_have_count(2)  # p50 and p99
    expect(page, "#latency-now").to_contain_text("p99")


def test_the_page_of_the_api_loads_nothing_from_elsewhere(open_page):
    page, url = open_page()
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.wait_for_selector(".connection.up")
    page.click("header a")
    page.wait_for_selector("#post-search")
    assert all(address.startswith((url, "data:")) for address in requested)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.errors == []
