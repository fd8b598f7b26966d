"""The page in a real browser: a search, the live picture, the key, and errors."""

from __future__ import annotations

import shutil

import pytest
from serving_helpers import SLOW_S, live_server, post

from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """Return a browser of this machine that playwright can drive."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def expect(page, selector: str):
    """Return what waits for something to become so; playwright's `wait_for_function` needs what the page forbids."""
    from playwright.sync_api import expect as wait

    return wait(page.locator(selector))


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install 'elasticdenser[browser]'")
    path = find_browser()
    if path is None:
        pytest.skip(f"needs a browser, such as Debian's chromium: one of {', '.join(_BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        # In a container there is no sandbox; the page is our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, retriever, engine):
    """Open the page of a new server; what it says on the console that it should not is an error."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def open_it(scheme: str = "light", **settings):
            app = make_app(
                engine, retriever, ServeSettings(**{"log": False, "title": "mine", "deadline_s": SLOW_S, **settings})
            )
            url = stack.enter_context(live_server(app))
            context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
            page = context.new_page()
            stack.callback(context.close)
            page.troubles = []
            page.on("pageerror", lambda error: page.troubles.append(str(error)))
            page.on("console", lambda said: page.troubles.append(said.text) if said.type == "error" else None)
            page.goto(url)
            return page, url

        yield open_it


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_search_and_the_live_picture(open_page, scheme):
    page, url = open_page(scheme)
    page.wait_for_selector(".state.up")
    assert page.title() == page.text_content("h1") == "mine"
    assert page.text_content("#size") == "3 passages"
    expect(page, "#level").to_contain_text("no query in the last minute")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("desert planet")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits li")
    assert page.locator("#hits li").count() == 3
    hits = page.text_content("#hits")
    assert "dune is a novel about a desert planet" in hits
    assert "read a csv file with <b>headers</b> & more" in hits  # shown, not obeyed
    assert "w1-d2 answered in" in page.text_content("#said")
    post(f"{url}/search", {"queries": [f"query {number}" for number in range(40)]})
    page.wait_for_selector("#load path.curve")
    expect(page, "#level-now").to_contain_text("w1-d2")
    expect(page, "#latency-now").to_contain_text("p99")
    assert page.text_content("#legend") == "w1-d2"
    assert page.locator("svg[role=img][aria-label]").count() == 3
    assert page.troubles == []


@pytest.mark.slow
def test_nothing_jumps(open_page):
    page, _ = open_page()
    page.wait_for_selector(".state.up")
    boxes = "['#search', '#hits', '#load', '#level', '#latency'].map((id) => document.querySelector(id)" + (
        ".getBoundingClientRect()).map((box) => [box.x, box.y, box.width])"
    )
    before = page.evaluate(boxes)
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    expect(page, "#legend").not_to_be_empty()
    assert page.evaluate(boxes) == before


@pytest.mark.slow
def test_errors_are_said(open_page):
    page, _ = open_page()
    page.press("#query", "Enter")
    assert page.text_content("#said") == "Type a question first."
    page.evaluate("document.querySelector('#query').removeAttribute('maxlength')")
    page.fill("#query", "x" * 10_001)
    page.press("#query", "Enter")
    page.wait_for_selector("#said.bad")
    assert "expected at most 10,000" in page.text_content("#said")


@pytest.mark.slow
def test_being_turned_away_is_said_in_words(open_page):
    page, _ = open_page()
    page.wait_for_selector("#intro:not([hidden])")
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    assert page.is_hidden("#intro")
    hurried, _ = open_page(deadline_s=1e-6)
    hurried.fill("#query", "planet")
    hurried.press("#query", "Enter")
    expect(hurried, "#said.bad").to_contain_text("Turned away")
    expect(hurried, "#load-now").to_contain_text("turned away of")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(open_page, width):
    page, _ = open_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width < 860:  # the picture is below the hits
        expect(page, "#now").to_contain_text("a second")
    assert page.is_visible("#now") == (width < 860)


@pytest.mark.slow
def test_the_key_is_asked_for(open_page):
    page, _ = open_page(api_key="s3cret")
    page.wait_for_selector("#key-row:not([hidden])")
    page.fill("#key", "s3cret")
    page.press("#key", "Enter")
    page.wait_for_selector(".state.up")
    page.fill("#query", "planet")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits li")
