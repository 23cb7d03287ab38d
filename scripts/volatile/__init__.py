"""Volatile state in what a harness's tools return: found by comparing two logs, ours or anybody's, and stripped."""

from scripts.volatile.kinds import strip

__all__ = ["strip"]
