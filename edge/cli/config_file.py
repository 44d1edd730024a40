"""Settings from a TOML file, with a table for each command and the names of its options.

    [watch]
    poll = 30
    exclude = ["*_draft*"]
    sort-into = "/srv/sorted"

An option on the command line has precedence, then its environment variable,
then the file, then the built-in default.
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
    """Refuse environment variables that look like an option's, but are misspelt.

    Raises:
        SettingsError: a variable with PREFIX belongs to no option of the group.
    """
    if not any(name.startswith(PREFIX) for name in environment):
        return  # the usual case, in which not all commands need to be imported
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
            raise SettingsError(f"{printable(name)}: unknown setting{f'; did you mean {likely[0]}?' if likely else ''}")


def read(path: Path | None, group: click.Group) -> dict[str, dict[str, Any]]:
    """Read a settings file as the `default_map` of a group of commands.

    Args:
        path: None: `default_file`, which need not exist.

    Raises:
        SettingsError: the file cannot be read, is not valid TOML, or has an unknown name or an invalid value.
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
    except ValueError as error:  # also if the text is not UTF-8
        raise SettingsError(f"{printable(path)}: invalid TOML: {printable(str(error))}") from error
    return {name: _of_command(path, name, table, group) for name, table in tables.items()}


def _of_command(path: Path, name: str, table: Any, group: click.Group) -> dict[str, Any]:
    command = group.commands.get(name)
    if command is None or not isinstance(table, dict):
        commands = ", ".join(f"[{known}]" for known in sorted(group.commands))
        raise SettingsError(f"{printable(path)}: unknown table {printable(name)}; the tables are {commands}")
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
            raise SettingsError(
                f"{printable(path)}: [{name}] unknown setting {printable(key)}; the settings are {known}"
            )
    return {
        str(options[key].name): _value(f"{printable(path)}: [{name}] {key}", value, options[key])
        for key, value in table.items()
    }


def _value(where: str, value: Any, option: click.Option) -> Any:
    """A value of the file in the form that click parses: text, a list of texts, or a bool for a flag."""
    if option.is_flag:
        if isinstance(value, bool):
            return value
        raise SettingsError(f"{where}: must be true or false, without quotes")
    if isinstance(option, OptionalValue) and isinstance(value, bool):
        return str(value).lower()
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        if all(isinstance(one, str) for one in values):
            return values
        raise SettingsError(f"{where}: must be a list of strings")
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise SettingsError(f"{where}: must be a string or a number")
