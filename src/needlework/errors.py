"""Errors a user can mend. The command line prints their text, without a traceback, and exits with 2."""


class UserError(Exception):
    """Something the user gave or has is wrong; the message says what, the numbers, and the fix."""


class BudgetError(UserError):
    """A token budget that no haystack of the task can meet."""


class RecipeError(UserError):
    """A recipe that cannot be read or does not make sense."""


class ModelError(UserError):
    """A model that is missing, cannot be loaded, or that Needlework is not proven exact for."""


class DataError(UserError):
    """A data file that is missing, unreadable or malformed; the message names the line."""
