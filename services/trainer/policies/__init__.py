"""Policies: models that write responses, tuned on what people said of earlier ones."""
