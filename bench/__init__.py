"""Measurements, not tests: each script writes a JSON with its machine and commit under ``bench/results``."""
