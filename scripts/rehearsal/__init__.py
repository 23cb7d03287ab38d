"""Rehearsal: every cell of a grid is started once with a drawn checkpoint of a few layers in place of its weights."""
