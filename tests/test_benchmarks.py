"""The benchmarks and long tests that nobody runs every day still fit the code."""

import importlib

import click
import pytest

from tests.conftest import CHECKOUT

PROGRAMS = sorted(
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
    for folder in ("tests/benchmarks", "tests/soak")
    for path in (CHECKOUT / folder).rglob("*.py")
    if "@click.command" in path.read_text()
)


def test_there_are_programs() -> None:
    assert {"tests.benchmarks.isolation", "tests.benchmarks.peers.__main__", "tests.soak.__main__"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_can_be_imported_and_has_help(name: str) -> None:
    module = importlib.import_module(name)
    commands = [value for value in vars(module).values() if isinstance(value, click.Command)]
    assert commands
    for command in commands:
        assert command.get_help(click.Context(command)).startswith("Usage:")
