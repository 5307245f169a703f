"""The tree of errors."""

from __future__ import annotations

import inspect

from marina import errors
from marina.client.status import error_from_status
from marina.errors import ClientError, MarinaError, ServeError

TREE = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, MarinaError)]


def test_each_kind_has_an_exit_code_of_its_own() -> None:
    kinds = [each for each in TREE if each.__base__ is MarinaError]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert min(codes) == 2  # 0 is success, 1 a finding


def test_every_status_has_an_error() -> None:
    for status in range(400, 600):
        error = error_from_status(status, "", "said")
        assert (error.status, str(error)) == (status, "said")
        assert type(error) is not ClientError


def test_a_serve_error_has_details() -> None:
    assert ServeError("cause").details == ""
    assert ServeError("cause", "traceback").details == "traceback"
