"""Settings from a TOML file: a table for each command, the same names as its options.

    [watch]
    poll = 30
    exclude = ["*_draft*"]
    sort-into = "/srv/sorted"

An option on the command line wins, then its variable of the environment,
then the file, then what we have decided.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edge.cli.commands import PREFIX, OptionalValue
from edge.errors import SettingsError, printable, reason_of
from edge.paths import xdg_folder

FILE = "edge-detect.toml"


def default_file() -> Path | None:
    """The user's settings file, else the machine's; None if neither exists."""
    folders = filter(None, (xdg_folder("XDG_CONFIG_HOME", ".config"), Path("/etc")))
    return next((folder / FILE for folder in folders if os.path.exists(folder / FILE)), None)


def require_known_variables(group: click.Group, environment: Mapping[str, str] = os.environ) -> None:
    """
    Raises:
        SettingsError: there is a variable of ours in the environment that no option has: a slip of the pen.
    """
    if not any(name.startswith(PREFIX) for name in environment):
        return  # as a rule; so that not all commands are imported for it
    commands: list[click.Command] = [group]
    known = set()
    while commands:
        command = commands.pop()
        commands += command.commands.values() if isinstance(command, click.Group) else []
        known |= {str(option.envvar) for option in command.params if option.envvar}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            import difflib

            likely = difflib.get_close_matches(name, known, 1)
            raise SettingsError(f"{printable(name)}: no setting{f'; is it {likely[0]}?' if likely else ''}")


def read(path: Path | None, group: click.Group) -> dict[str, dict[str, Any]]:
    """The defaults that a file gives to the commands of a group, in the form that click wants them.

    Args:
        path: None looks in the usual places, where there need not be any.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or holds a name that is none of ours.
    """
    if path is None:
        path = default_file()
        if path is None:
            return {}
    import tomllib

    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{printable(path)}: {reason_of(error)}") from error
    except ValueError as error:  # also of text that is no UTF-8
        raise SettingsError(f"{printable(path)}: no TOML: {printable(str(error))}") from error
    return {name: _of_command(path, name, table, group) for name, table in tables.items()}


def _of_command(path: Path, name: str, table: Any, group: click.Group) -> dict[str, Any]:
    command = group.commands.get(name)
    if command is None or not isinstance(table, dict):
        commands = ", ".join(f"[{known}]" for known in sorted(group.commands))
        raise SettingsError(f"{printable(path)}: {printable(name)} is none of its tables, which are {commands}")
    options = {
        spelling.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option)
        for spelling in option.opts
        if spelling.startswith("--")
    }
    for key in table:
        if key not in options:
            known = ", ".join(sorted(options)) or "none"
            raise SettingsError(f"{printable(path)}: [{name}] {printable(key)} is no setting; there are {known}")
    return {
        str(options[key].name): _value(f"{printable(path)}: [{name}] {key}", value, options[key])
        for key, value in table.items()
    }


def _value(where: str, value: Any, option: click.Option) -> Any:
    """As click wants it, which turns text into what an option takes and says so if it cannot."""
    if option.is_flag:
        if isinstance(value, bool):
            return value
        raise SettingsError(f"{where}: true or false, without quotes")
    if isinstance(option, OptionalValue) and isinstance(value, bool):
        return str(value).lower()
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        if all(isinstance(one, str) for one in values):
            return values
        raise SettingsError(f"{where}: a list of texts")
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise SettingsError(f"{where}: a text or a number")
