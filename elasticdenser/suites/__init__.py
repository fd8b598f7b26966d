"""Suites: data sets, systems and measures in one TOML file, evaluated by one command."""

from elasticdenser.suites.reading import Suite, read_suite
from elasticdenser.suites.resources import SuiteOptions
from elasticdenser.suites.suite import cell_lines, run_suite

__all__ = ["Suite", "SuiteOptions", "cell_lines", "read_suite", "run_suite"]
