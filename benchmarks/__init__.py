"""Measurements, each a script that prints JSON. Never run as tests."""
