"""Errors a user can fix. The command line prints their text, without a traceback, and exits with 2."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """Something the user gave or has is wrong; the message says what, the numbers, and the fix."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled as a call with their message alone, which other signatures than that do not take.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class BudgetError(UserError):
    """A token budget that is too small for a haystack of the task.

    Args:
        message: The sentence to print.
        needed: The smallest budget that is large enough.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class RecipeError(UserError):
    """A recipe that cannot be read or does not make sense."""


class ModelError(UserError):
    """A model that is missing, cannot be loaded, or that Needlework is not proven exact for."""


class HubError(ModelError):
    """A model that is no local folder, and that the hub does not give: no network, no access, or no such model."""


class DataError(UserError):
    """A data file that is missing, unreadable or malformed; the message names the line."""
