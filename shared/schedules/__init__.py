"""Schedules: when they are due, how they are stored, and how the samples they wait for count."""
