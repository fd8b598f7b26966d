"""Search in worker processes."""
