from __future__ import annotations

import inspect
import pickle
import pkgutil
from importlib import import_module

import pytest

import needlework
from needlework import errors
from needlework.errors import BudgetError, UserError
from needlework.inference.backend import TooLongError
from needlework.remote import ContextError, MalformedError, RemoteError


def test_every_error_is_one_that_the_command_line_prints() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert kinds
    assert all(issubclass(kind, UserError) for kind in kinds)


@pytest.mark.parametrize(
    "error",
    [
        UserError("wrong"),
        BudgetError("too small", needed=7),
        TooLongError({"a": "needs 9 tokens", "b": "needs 8 tokens"}),
        *(kind("failed", refused=True, wait=1.5) for kind in (RemoteError, MalformedError, ContextError)),
    ],
)
def test_an_error_of_another_process_is_the_same_here(error: UserError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_no_kind_of_error_with_a_signature_of_its_own_is_untested() -> None:
    for module in pkgutil.walk_packages(needlework.__path__, "needlework."):
        if "__main__" not in module.name and "vllm" not in module.name:
            import_module(module.name)

    def below(kind: type) -> list[type]:
        return [each for child in kind.__subclasses__() for each in (child, *below(child))]

    own = {kind.__name__ for kind in below(UserError) if "__init__" in vars(kind)}
    assert own == {"BudgetError", "TooLongError", "RemoteError"}
