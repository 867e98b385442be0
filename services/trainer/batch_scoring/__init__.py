"""Scores of whole files: read in chunks, scored on every core or machine, whole or not there."""
