"""Transformer encoders: finding their files, reading their settings, and running them."""
