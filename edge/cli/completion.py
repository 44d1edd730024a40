"""`edge-detect completion`."""

import click


@click.command(epilog='\b\nExample, in ~/.bashrc:\n  eval "$(edge-detect completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell completion script."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None  # click supports the three shells
    click.echo(script(context.find_root().command, {}, "edge-detect", "_EDGE_DETECT_COMPLETE").source())
