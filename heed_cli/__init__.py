"""The `heed` command; the only package that may import every service, lazily."""
