"""Webhooks: who wants to hear of which events, what waits for them, and how it is delivered.

`subscriptions` and `deliveries` are rows, `signing`, `addresses` and `sending` one attempt, and
`courier` the background work that makes the attempts.
"""
