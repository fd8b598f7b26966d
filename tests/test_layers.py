"""Imports go down the layers of the package only, and never in a circle."""

from __future__ import annotations

from collections.abc import Iterator

import grimp
import pytest

PACKAGE = "elasticdenser"
# From the top down; modules of one line do not import each other, but for those of the ground floor.
LAYERS = (
    ("cli",),
    ("serving", "loadtest", "integrations"),
    ("suites", "training"),
    ("reports",),
    ("evaluation", "engine"),
    ("retrieval",),
    ("index",),
    ("rankers", "classifiers"),
    ("encoders",),
    ("kernel",),
    ("models",),
    ("datasets",),
    (
        *(
            "arrays",
            "artifacts",
            "cpus",
            "dataclass_io",
            "errors",
            "fingerprint",
            "hedging",
            "hull",
            "lazy_imports",
            "ordered_map",
        ),
        *("machine", "progress", "query_input", "ray_connection", "requirements", "subnet", "version"),
    ),
)
GROUND_FLOOR = LAYERS[-1]
ENTRY_POINTS = {"__main__"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import in the source, those within functions and for type checkers only included."""
    return grimp.build_graph(PACKAGE, cache_dir=None)


def test_every_module_has_a_layer(graph):
    names = {module.split(".")[1] for module in graph.find_children(PACKAGE)}
    assert names - ENTRY_POINTS == {name for layer in LAYERS for name in layer}


def test_imports_go_down(graph):
    layers = tuple(grimp.Layer(*layer, independent=layer != GROUND_FLOOR) for layer in LAYERS)
    violations = graph.find_illegal_dependencies_for_layers(layers, containers={PACKAGE})
    assert sorted(f"{route.importer} imports {route.imported}" for route in violations) == []


def test_no_import_circle(graph):
    assert [" <-> ".join(circle) for circle in _circles(graph)] == []


def _circles(graph: grimp.ImportGraph) -> Iterator[list[str]]:
    """Yield each set of modules that all reach each other by imports."""
    remaining = set(graph.modules)
    while remaining:
        module = remaining.pop()
        below, above = graph.find_upstream_modules(module), graph.find_downstream_modules(module)
        circle = {module} | (below & above)
        remaining -= circle
        if len(circle) > 1:
            yield sorted(circle)
