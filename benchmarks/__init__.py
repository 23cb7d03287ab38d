"""Measurements with a target beside each; `make bench` runs them all."""
