"""Finds personal and health identifiers in text and replaces each by a typed placeholder.

English first. What it finds is measured in `docs/masking.md`; no masker finds everything.
"""

from shared.privacy.masking.entities import Edit, Entity, Masked, Span
from shared.privacy.masking.masker import Masker
from shared.privacy.masking.values import mask_value

__all__ = ["Edit", "Entity", "Masked", "Masker", "Span", "mask_value"]
