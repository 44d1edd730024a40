"""The command `edge-detect`: parse, call, print, exit.

Nothing heavy is imported at the top: `--help` and completion need none of it.
"""

import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge import __version__
from edge.commands import Group
from edge.errors import SinkError

if TYPE_CHECKING:
    from edge.classifier import Classifier
    from edge.sinks.lines import Sink

FAILED = 1  # exit status: some image has no verdict, the others have (edge.commands has the other one)

EXIT_STATUS = "Exit status: 0 all well, 1 some image failed, 2 nothing could be done."


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose and set up the network, and one `classifier` built of them."""

    @click.option(
        "--model",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A .tflite file, its .json beside it.  [default: the int8 model that came with edge-detect]",
    )
    @click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="For the network.")
    @click.option(
        "--runtime",
        type=click.Choice(["ai-edge-litert", "tflite-runtime"]),
        envvar="EDGE_DETECT_RUNTIME",
        show_envvar=True,
        help="Which LiteRT runtime.  [default: the one that is installed]",
    )
    @functools.wraps(command)
    def with_model(model: Path | None, threads: int, runtime: str | None, **options: Any) -> Any:
        def classifier() -> "Classifier":
            from edge.classifier import Classifier
            from edge.model import load

            return Classifier(load(model), threads, runtime)

        return command(classifier=classifier, **options)

    return with_model


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="edge-detect")
def main() -> None:
    """Tell photographs (REAL) from AI-generated images (FAKE), offline, on this device.

    \b
    Examples:
      edge-detect classify photo.jpg
      edge-detect watch ./inbox
    """


@main.command(
    epilog="\b\nExamples:\n  edge-detect classify photo.jpg\n  edge-detect classify --json ./pictures > verdicts.jsonl"
    f"\n\n{EXIT_STATUS}"
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--figure", is_flag=True, help="Also draw <name>_results.png beside each image.")
@click.option("--recursive", "-r", is_flag=True, help="Look into the sub-folders of folders.")
@model_options
def classify(
    paths: tuple[str, ...], as_json: bool, figure: bool, recursive: bool, classifier: Callable[[], "Classifier"]
) -> None:
    """Classify image files, and the images in folders.

    A file that fails gets a line that says why, and the rest goes on.
    """
    from edge.errors import ImageError
    from edge.image import pixels
    from edge.sources.files import images
    from edge.verdict import Failure, Verdict

    network, sink, failed = classifier(), _lines(as_json), False
    for path in images(paths, recursive):
        if isinstance(path, OSError):
            sink.tell(Failure(str(path.filename), (path.strerror or str(path)).lower()))
            failed = True
            continue
        answer = network.answer(path)
        sink.tell(answer)
        failed = failed or isinstance(answer, Failure)
        if figure and isinstance(answer, Verdict):
            from edge import figure as figures

            try:
                figures.write(answer, pixels(path, network.size))
            except (ImageError, SinkError) as error:
                click.echo(f"edge-detect: {error}", err=True)
                failed = True
    sys.exit(FAILED if failed else 0)


@main.command(
    epilog="\b\nExamples:\n  edge-detect watch ./inbox\n  edge-detect watch ./inbox --once --json > verdicts.jsonl"
    f"\n\n{EXIT_STATUS}"
)
@click.argument("folder", type=click.Path())
@click.option("--once", is_flag=True, help="Stop when every image in the folder is answered.")
@click.option("--recursive", "-r", is_flag=True, help="Look into sub-folders too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    envvar="EDGE_DETECT_STATE",
    show_envvar=True,
    help="Where to remember what was answered.  [default: edge-detect below $XDG_STATE_HOME or ~/.local/state]",
)
@model_options
def watch(
    folder: str, once: bool, recursive: bool, as_json: bool, state: Path | None, classifier: Callable[[], "Classifier"]
) -> None:
    """Classify what lies in a folder, then every new image in it.

    Each image is answered once, also across restarts: a file that stays the
    same, is touched or renamed gets no second line; new content does.
    """
    import threading

    from edge.daemon import Watcher, stopping_on_signals
    from edge.ledger import Ledger
    from edge.sources.folder import Folder
    from edge.state import default_folder
    from edge.terminal import Progress

    stop = threading.Event()
    source, network = Folder(folder, recursive), classifier()
    with stopping_on_signals(stop) as signals, Ledger(state or default_folder()) as ledger:
        progress = Progress(_lines(as_json), sys.stderr)
        watcher = Watcher(source, network, ledger, [progress])
        try:
            for tally in watcher.run(stop, once=once):
                progress.show(str(tally))
        finally:
            progress.clear()
            # A program that reads our lines gets no others, unless someone stopped us and may wonder.
            if not as_json or signals or sys.stderr.isatty():
                click.echo(str(watcher.tally), err=True)
    if once and signals:
        sys.exit(128 + signals[0])  # the folder is not done
    sys.exit(FAILED if once and watcher.tally.failures else 0)


@main.group(epilog="Example: edge-detect service show")
def service() -> None:
    """The background service, run by systemd."""


@service.command(epilog="Example: edge-detect service show | sudo tee /etc/systemd/system/edge-detect-watch@.service")
def show() -> None:
    """Print the unit that watches a folder, with this installation's path in it."""
    from edge import resources

    program = [os.path.abspath(sys.argv[0])]
    if os.path.basename(program[0]) == "__main__.py":  # python -m edge
        program = [sys.executable, "-m", "edge"]
    # A percent sign is doubled, and what holds a space stands in quotes: systemd.unit(5), systemd.service(5).
    words = [f'"{word}"' if " " in word else word for word in (word.replace("%", "%%") for word in program)]
    unit = (resources.folder("systemd") / "edge-detect-watch@.service").read_text("utf-8")
    click.echo(unit.replace("@EDGE_DETECT@", " ".join(words)), nl=False)


@main.command(epilog='\b\nExample, in ~/.bashrc:\n  eval "$(edge-detect completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes our commands in a shell."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None  # the three shells are click's own
    click.echo(script(main, {}, "edge-detect", "_EDGE_DETECT_COMPLETE").source())


def _lines(as_json: bool) -> "Sink":
    from edge.sinks.lines import HumanLines, JsonLines

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal's encoding lacks
    return JsonLines(sys.stdout) if as_json else HumanLines(sys.stdout, sys.stderr)
