"""What every HTTP service shares: problem+json errors, request ids, body cap, metrics, serving."""

from shared.web.app import install
from shared.web.problems import Problem, explain_validation, problems, status_of
from shared.web.serving import serve, serve_or_exit

__all__ = [
    "Problem",
    "explain_validation",
    "install",
    "problems",
    "serve",
    "serve_or_exit",
    "status_of",
]
