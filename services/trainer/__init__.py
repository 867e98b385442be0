"""Datasets, recipes, gates and the worker that runs training runs."""
