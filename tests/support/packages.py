"""Debian packages that some tests need."""

import os
from typing import NoReturn

import pytest


def missing(packages: str) -> NoReturn:
    """Skip the running test, or fail it if $TEST_PACKAGES is "required", as `.ci/run` sets it.

    Args:
        packages: names of the Debian packages that the test needs.
    """
    reason = f"needs: apt install {packages}"
    if os.environ.get("TEST_PACKAGES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
