"""Metadata of the passages of an index: lines of JSON to show, and a table to filter by."""
