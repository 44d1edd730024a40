"""Against what a user would run instead: python -m tests.benchmarks.peers --images CIFAKE/test

The same network, the same images, in turns, each way in an environment of its
own with nothing else in it. Needs the extras `train` and `peers`, for the
network as ONNX.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from edge.benchmark import subprocesses
from edge.benchmark.commands import Backlog, Limit, backlogs
from edge.benchmark.workload import Workload, of_folder
from tests.benchmarks.peers.environments import CHECKOUT, Environment, environment, without_paths
from tests.benchmarks.photos import PHOTO, enlarged
from tests.benchmarks.tables import differences, markdown, rounded, tell

MODELS = CHECKOUT / "models"
PHOTOS = 3


@dataclass(frozen=True)
class Peer:
    """
    Attributes:
        script: in this folder.
        needs: what pip installs for it.
        views: JSON of a model for views of photos, which the script reads; None: it classifies whole images, or needs
            no help.
    """

    name: str
    script: str
    model: Path
    needs: Sequence[str]
    views: Path | None = None


@dataclass
class Measured:
    """A line for each turn; a peer that failed has its words."""

    turns: list[dict] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    failed: str = ""

    def median(self, name: str) -> float:
        return statistics.median(turn[name] for turn in self.turns)


def thumbnail_peers(onnx: Path) -> list[Peer]:
    """The ways to classify whole images, ours first."""
    int8, float16 = MODELS / "compact_int8.tflite", MODELS / "compact_float16.tflite"
    opencv = ("opencv-python-headless", "numpy")
    return [
        Peer("edge-detect classify, int8", "ours", int8, (str(CHECKOUT),)),
        Peer("edge-detect classify, float16", "ours", float16, (str(CHECKOUT),)),
        Peer("TensorFlow's interpreter, Pillow, float16", "tensorflow_lite", float16, ("tensorflow", "pillow")),
        Peer("ONNX Runtime, Pillow", "onnx_runtime", onnx, ("onnxruntime", "pillow", "numpy")),
        Peer("ONNX Runtime, 1 thread, Pillow", "onnx_runtime_one_thread", onnx, ("onnxruntime", "pillow", "numpy")),
        Peer("OpenCV DNN, ONNX file", "opencv_dnn", onnx, opencv),
        Peer("OpenCV DNN, float16 .tflite", "opencv_dnn", float16, opencv),
        Peer("MediaPipe, float16", "mediapipe_classifier", float16, ("mediapipe",)),
        Peer("MediaPipe, int8", "mediapipe_classifier", int8, ("mediapipe",)),
    ]


def photo_peers(onnx: Path) -> list[Peer]:
    """The ways to classify views of photos, ours first. The others decode everything, and take the same views."""
    int8, float16 = MODELS / "photo_int8.tflite", MODELS / "photo_float16.tflite"
    views = float16.with_suffix(".json")
    opencv = ("opencv-python-headless", "numpy", "pillow")
    return [
        Peer("edge-detect classify, int8", "ours", int8, (str(CHECKOUT),)),
        Peer("edge-detect classify, float16", "ours", float16, (str(CHECKOUT),)),
        Peer("TensorFlow's interpreter, Pillow, float16", "tensorflow_lite", float16, ("tensorflow", "pillow"), views),
        Peer("ONNX Runtime, Pillow", "onnx_runtime", onnx, ("onnxruntime", "pillow", "numpy"), views),
        Peer(
            "ONNX Runtime, 1 thread, Pillow",
            "onnx_runtime_one_thread",
            onnx,
            ("onnxruntime", "pillow", "numpy"),
            views,
        ),
        Peer("OpenCV DNN, ONNX file, Pillow", "opencv_dnn", onnx, opencv, views),
    ]


@click.command()
@click.option(
    "--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Thumbnails."
)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="For each turn of each peer.")
@click.option("--most", default=1000, show_default=True, help="Thumbnails, from all over the folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the tables to a file.")
def main(images: Path, rounds: int, seconds: float, most: int, out: Path | None) -> None:
    """Images a second, processor time, start, memory, installed size, and whether the verdicts are the same."""
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        whole, cut = (_onnx(MODELS / name, temporary) for name in ("compact.keras", "photo.keras"))
        photos = temporary / "photos"
        for_whole, for_views = thumbnail_peers(whole), photo_peers(cut)
        homes = {
            peer.needs: environment(f"{peer.needs[0].rpartition('/')[2]}-{len(peer.needs)}", peer.needs)
            for peer in (*for_whole, *for_views)
        }
        photos.mkdir()
        for number in range(PHOTOS):
            enlarged(PHOTO, (4000, 3000)).rotate(number * 5).save(photos / f"{number}.jpg", quality=90)
        parts = []
        for heading, ways, folder in (
            ("Thumbnails", for_whole, images),
            ("JPEGs of 12 megapixels, model for thumbnails", for_whole, photos),
            ("JPEGs of 12 megapixels, model for photos", for_views, photos),
        ):
            parts.append(f"## {heading}")
            parts.append(_compared(ways, homes, folder, rounds, seconds, most))
        listed = {home.packages: home for home in homes.values()}
        parts.append(
            "## Installed\n\n" + "\n".join(f"- {home.megabytes:.0f} MB: {text}" for text, home in listed.items())
        )
    tell("tests.benchmarks.peers", parts, out)


def _compared(
    ways: Sequence[Peer], homes: dict[Sequence[str], Environment], folder: Path, rounds: int, seconds: float, most: int
) -> str:
    measured = {peer.name: Measured() for peer in ways}
    watched: list[Backlog] = []
    (workload,) = of_folder(folder)
    for turn in range(rounds):
        for peer in ways if turn % 2 == 0 else reversed(ways):
            _turn(peer, homes[peer.needs].python, folder, measured[peer.name], seconds, most)
        watched.append(_watched(workload, measured[ways[0].name], ways[0].model, seconds))
    ours = measured[ways[0].name]
    rows = [
        _row(peer, measured[peer.name], ours, measured[ways["int8" not in peer.name].name], homes[peer.needs])
        for peer in ways
    ]
    best = max(watched, key=lambda one: one.per_second)
    values = [
        statistics.median(getattr(one, name) for one in watched)
        for name in ("per_second", "cpu_seconds", "start_seconds")
    ]
    row = ["edge-detect watch --once, int8", rounded(values[0]), f"{values[0] / ours.median('per_second'):.2f}"]
    row += [
        rounded(values[1] * 1000),
        f"{values[2]:.2f}",
        f"{best.peak_bytes / 1e6:.0f}",
        f"{homes[ways[0].needs].megabytes:.0f}",
    ]
    rows.insert(2, [*row, "as classify"])
    heading = (
        "",
        "images/s",
        ": ours",
        "CPU ms/image",
        "start, s",
        "peak MB",
        "installed MB",
        "beside ours of the same precision",
    )
    failures = [f"- {peer.name}: {measured[peer.name].failed}" for peer in ways if measured[peer.name].failed]
    told = [f"{len(ours.turns[0]['scores'])} images, medians of {rounds} rounds in turns.", markdown(heading, rows)]
    return "\n\n".join([*told, *(["Could not be run:\n\n" + "\n".join(failures)] if failures else [])])


def _turn(peer: Peer, python: Path, folder: Path, measured: Measured, seconds: float, most: int) -> None:
    if measured.failed:
        return
    script = Path(__file__).with_name(f"{peer.script}.py")
    words = [str(python), str(script), "--model", str(peer.model), "--images", str(folder), "--most", str(most)]
    words += ["--views", str(peer.views)] if peer.views else []
    for duration in (0.0, seconds):
        ran = subprocesses.run(
            [*words, "--seconds", str(duration)], may_end_with=range(-64, 256), variables=without_paths()
        )
        if ran.status:
            lines = [line.strip() for line in ran.errors.splitlines() if line.strip()]
            measured.failed = next(
                (line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "died"
            )
            return
        if not duration:
            measured.starts.append(ran.seconds)
    measured.turns.append(json.loads(ran.output.splitlines()[-1]))


def _watched(workload: Workload, ours: Measured, model: Path, seconds: float) -> Backlog:
    """As many images as one process does in thrice that time, for the start is taken off."""
    count = round(ours.turns[-1]["per_second"] * seconds * 3)
    with tempfile.TemporaryDirectory() as name:
        reached = backlogs(workload, count, [["--model", str(model)]], lambda: Limit(1.0, 1.0), Path(name), 1)
    return reached.backlogs[0]


def _row(peer: Peer, measured: Measured, ours: Measured, same: Measured, home: Environment) -> list[str]:
    """
    Args:
        ours: whose rate is 1.
        same: ours of the same precision, whose scores are compared.
    """
    installed = f"{home.megabytes:.0f}"
    if measured.failed:
        return [peer.name, "-", "-", "-", "-", "-", installed, "cannot be run"]
    rate, reference = measured.median("per_second"), ours.median("per_second")
    most, labels = differences(same.turns[0]["scores"], measured.turns[0]["scores"])
    agreed = f"{labels} differ, scores by {most:.3f} at most"
    peak = f"{measured.median('peak_kb') / 1000:.0f}"
    start, cpu = f"{statistics.median(measured.starts):.2f}", rounded(measured.median("cpu_seconds") * 1000)
    return [peer.name, rounded(rate), f"{rate / reference:.2f}", cpu, start, peak, installed, agreed]


def _onnx(model: Path, folder: Path) -> Path:
    """A network as ONNX, written by Keras."""
    path = folder / f"{model.stem}.onnx"
    program = (
        "import sys, keras; model = keras.models.load_model(sys.argv[1], compile=False);"
        " spec = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype='float32', name='rgb');"
        " model.export(sys.argv[2], format='onnx', verbose=False, input_signature=[spec])"
    )
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    words = [sys.executable, "-c", program, str(model), str(path)]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"no ONNX file (pip install '.[train,peers]'): {done.stderr.splitlines()[-1]}")
    return path


if __name__ == "__main__":
    main()
