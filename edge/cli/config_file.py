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
    """The settings file in the user's configuration folder, else the one in /etc; None if neither exists."""
    folders = filter(None, (xdg_folder("XDG_CONFIG_HOME", ".config"), Path("/etc")))
    return next((folder / FILE for folder in folders if os.path.exists(folder / FILE)), None)


def require_known_variables(group: click.Group, environment: Mapping[str, str] = os.environ) -> None:
    """Check that every environment variable with PREFIX sets an option of the group.

    Raises:
        SettingsError: a variable sets no option; its name may be misspelt.
    """
    if not any(name.startswith(PREFIX) for name in environment):
        return  # usually; the check below imports the modules of all commands
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
    """Read a settings file.

    Args:
        path: None for the file that `default_file` finds, if any.
        group: its commands and their options are the names that the file may contain.

    Returns:
        Values by command and parameter name, for `click.Context.default_map`. They are text, lists of text or bool;
        click parses and checks them like arguments when the command runs.

    Raises:
        SettingsError: the file cannot be read, is not valid TOML, or has an unknown name or a value of a wrong type.
    """
    if path is None:
        path = default_file()
        if path is None:
            return {}
    try:
        text = path.read_text("utf-8")
        if not text:  # as /dev/null is
            return {}
        import tomllib

        tables = tomllib.loads(text)
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
    """Convert a TOML value to what click parses: text, a list of text, or for a flag a bool."""
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
