"""Suites: data sets, systems and measures in one TOML file, evaluated by one command."""

from elasticdenser.suites.cell_lines import cell_lines
from elasticdenser.suites.glue import GlueSuite, run_glue_suite
from elasticdenser.suites.intents import IntentSuite, run_intent_suite
from elasticdenser.suites.options import SuiteOptions
from elasticdenser.suites.reading import read_any_suite, read_suite
from elasticdenser.suites.run import run_suite
from elasticdenser.suites.suite import Suite

__all__ = [
    "GlueSuite",
    "IntentSuite",
    "Suite",
    "SuiteOptions",
    "cell_lines",
    "read_any_suite",
    "read_suite",
    "run_glue_suite",
    "run_intent_suite",
    "run_suite",
]
