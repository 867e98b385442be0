"""Keeping people private: the deployment's secret, pseudonyms, and what is built on them."""

from shared.privacy.secret import fingerprint, load_secret, mac, person_of, pseudonym

__all__ = ["fingerprint", "load_secret", "mac", "person_of", "pseudonym"]
