"""Errors as responses (RFC 9457): of ours and of tasks' own, in Django's views and in Django REST framework's."""

from taskyard.integrations.problems.handler import drf_exception_handler
from taskyard.integrations.problems.middleware import ProblemMiddleware
from taskyard.integrations.problems.problem import Problem, problem_of

__all__ = ["Problem", "ProblemMiddleware", "drf_exception_handler", "problem_of"]
