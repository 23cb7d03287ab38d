"""Quants: folders of weights with a manifest, built by a recipe."""
