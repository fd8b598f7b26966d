"""Profiles: what each level costs on this machine and what it is worth."""
