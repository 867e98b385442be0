"""Payloads that cross a service border."""
