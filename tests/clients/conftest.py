"""The bodies of client applications meet the API that the tests of feedback_api start."""

from tests.feedback_api.conftest import client, project, rows, shared_sessions, token, transport

__all__ = ["client", "project", "rows", "shared_sessions", "token", "transport"]
