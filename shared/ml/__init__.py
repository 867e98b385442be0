"""The one scoring path; with services/trainer the only room for torch."""
