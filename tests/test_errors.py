from __future__ import annotations

import inspect

from needlework import errors


def test_every_error_is_one_that_the_command_line_prints() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, errors.UserError) for kind in kinds)
