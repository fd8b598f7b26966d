"""Version of this package, as in pyproject.toml; known also where the package is not installed."""

__version__ = "0.1.0"
