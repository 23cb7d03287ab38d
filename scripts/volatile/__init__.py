"""Volatile state in what a harness's tools return: found by comparing two transcripts, ours or anybody's."""
