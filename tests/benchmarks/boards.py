"""How many instructions a 64-bit Pi needs, with each runtime: python -m tests.benchmarks.boards

Counted under emulation of a Raspberry Pi 4's processor, so that neither this machine nor its load changes them. As the
super-user. The emulated systems are made once, in some minutes, and kept as those of `make test-arm`.

Each figure is the difference between a short and a long run of all processes together, divided by the images between;
that of `classify` is a whole run. Beside it is the plain: a few lines of Python that read, decode, scale and put the
same pictures through the same network, by numpy, Pillow or PyAV and the runtime; for the photo model, two crops.

    python -m tests.benchmarks.boards --source /path/to/former/checkout --json before.json
    python -m tests.benchmarks.boards --before before.json --out tests/benchmarks/results/boards.md
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from PIL import Image

from tests.benchmarks.tables import markdown, tell
from tests.conftest import CHECKOUT, CIFAKE, DATA
from tests.support.counting import HERE, Counter, missing
from tests.support.roots import CACHE, Root, System, check_out, emulate

SYSTEMS = {
    "tflite-runtime": System("bookworm-arm64", "bookworm", "python3,python3-venv,ca-certificates", "arm64"),
    "ai-edge-litert": System("trixie-arm64", "trixie", "python3,python3-venv,ca-certificates", "arm64"),
}
PYTHON = "/root/edge-detect/bin/python"
PICTURE = (640, 480)  # of the camera
PHOTO = DATA / "photos" / "REAL" / "citrus-fruits.jpg"  # the photo model is sure of its first views
IMAGES, FRAMES = (8, 72), (4, 28)  # of the short and of the long run
# Without the threads of numpy's OpenBLAS, which wait actively: on two cores 15 to 25 million instructions at a start,
# which vary. Nothing here multiplies matrices by numpy.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
CALL, PHOTO_CALL = "one call of the network", "one call of the photo network"
CLASSIFY, WATCH, CAMERA = "`classify` of one thumbnail", "one image of `watch --once`", "one frame of `camera`"
PHOTO_CAMERA = "one frame of `camera`, photo model"
# Reads, decodes, scales and classifies, and nothing else. The first arguments are the runtime's package, the model and:
# "images" with paths, "frames" or "crops" with a recording and a number of frames, or "calls" with a number of calls.
# "crops" are the two that the photo model takes of a frame first, which is scaled to a height of 384 pixels for that.
PLAIN = """
import sys
from importlib import import_module
import numpy as np

package, model, kind, *paths = sys.argv[1:]
network = import_module(package + ".interpreter").Interpreter(model_path=model, num_threads=1)
network.allocate_tensors()
takes, returns = network.get_input_details()[0], network.get_output_details()[0]["index"]
_, height, width, _ = takes["shape"]
assert takes["dtype"] == np.int8 and takes["quantization"][1] == -128

def pictures():
    if kind == "images":
        from PIL import Image

        for path in paths:
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB").resize((width, height), Image.BICUBIC))
        return
    if kind == "calls":
        yield from np.zeros((int(paths[0]), height, width, 3), np.uint8)
        return
    import av
    from PIL import Image

    with av.open(paths[0]) as container:
        for _, frame in zip(range(int(paths[1])), container.decode(video=0)):
            if kind == "frames":
                size = [own // (own // (3 * wanted)) for own, wanted in ((frame.width, width), (frame.height, height))]
                reduced = frame.reformat(*size, "gbrp", interpolation="AREA").to_ndarray()
                yield np.asarray(Image.fromarray(reduced).resize((width, height), Image.BICUBIC))
                continue
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            across, top = width * frame.height / 384, height * frame.height / 384
            for left in (frame.width * 0.25 - across / 2, frame.width * 0.75 - across / 2):
                box = left, (frame.height - top) / 2, left + across, (frame.height + top) / 2
                yield np.asarray(image.resize((width, height), Image.BICUBIC, box))

for pixels in pictures():
    network.set_tensor(takes["index"], (pixels ^ np.uint8(128)).view(np.int8)[None])
    network.invoke()
    print(network.get_tensor(returns)[0, 0])
"""


def installed(system: System, runtime: str) -> Path:
    """The files of a system with edge-detect's requirements; made once."""
    emulate(system.architecture)
    kept = CACHE / f"{system.name}-installed"
    if not kept.exists():
        partial = CACHE / f"{kept.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", system.pristine(), partial], check=True)
        root = Root(partial, system)
        check_out(partial / "checkout")
        root.succeed("python3", "-m", "venv", "/root/edge-detect")
        root.succeed("/root/edge-detect/bin/pip", "install", "-q", "/checkout[camera]")
        root.succeed("/root/edge-detect/bin/pip", "uninstall", "-q", "-y", "edge-detect")
        assert runtime in root.succeed("/root/edge-detect/bin/pip", "list")
        shutil.rmtree(partial / "checkout")
        partial.rename(kept)
    return kept


def recording(path: Path) -> None:
    """Frames as a webcam gives them without compression, of a picture that moves: decoding costs next to nothing."""
    width, height = PICTURE
    with Image.open(PHOTO) as opened:
        large = np.asarray(opened.convert("RGB"))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(FRAMES[1]):
            part = np.ascontiguousarray(large[number : number + height, 2 * number : 2 * number + width])
            frame = av.VideoFrame.from_ndarray(part, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def lay_out(folder: Path, source: Path) -> None:
    """Put the code, the pictures, the recording and the plain program into the folder that is seen inside."""
    for name in ("edge", "models", "systemd"):
        shutil.copytree(
            source / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__", "*.keras")
        )
    paths = sorted((CIFAKE / "test").rglob("*.jpg")) + sorted((CIFAKE / "train").rglob("*.jpg"))
    contents = list(dict.fromkeys(path.read_bytes() for path in paths))  # each once: `watch` decodes a content once
    for count in IMAGES:
        (folder / f"images-{count}").mkdir()
        for number, content in enumerate(contents[:count]):
            (folder / f"images-{count}" / f"{number}.jpg").write_bytes(content)
        assert len(contents) >= count
    recording(folder / "recording.avi")
    (folder / "plain.py").write_text(PLAIN)


def counts(counter: Counter, runtime: str, *, with_plain: bool) -> dict[str, float]:
    """Instructions by what they were counted of; those of the plain program under the name with ", plain" after it."""
    source, states = f"{HERE}/source", iter(range(10**6))
    package = runtime.replace("-", "_")

    def product(*words: str) -> int:
        state = ("--state", f"{HERE}/states/{next(states)}") if words[0] != "classify" else ()
        arguments = [PYTHON, "-m", "edge", *words, *state, "--runtime", runtime, "--json"]
        return counter.run(arguments, PYTHONPATH=source, **ONE_THREAD)[0]

    def plain(kind: str, *words: str, model: str = "compact_int8") -> int:
        arguments = [PYTHON, f"{HERE}/plain.py", package, f"{source}/models/{model}.tflite", kind, *words]
        return counter.run(arguments, **ONE_THREAD)[0]

    def images(count: int) -> str:
        return f"{HERE}/images-{count}"

    def frames(count: int, *model: str) -> int:
        return product("camera", "--source", f"{HERE}/recording.avi", "--max-frames", str(count), *model)

    compact = ("--model", f"{source}/models/compact_int8.tflite")
    ways: dict[str, Callable[[], float]] = {
        CLASSIFY: lambda: product("classify", f"{images(IMAGES[0])}/0.jpg"),
        WATCH: lambda: _each(IMAGES, lambda count: product("watch", images(count), "--once")),
        CAMERA: lambda: _each(FRAMES, lambda count: frames(count, *compact)),
        PHOTO_CAMERA: lambda: _each(FRAMES, frames),
    }
    if with_plain:
        ways |= {
            f"{CALL}, plain": lambda: _each(FRAMES, lambda count: plain("calls", str(count))),
            f"{PHOTO_CALL}, plain": lambda: _each(FRAMES, lambda count: plain("calls", str(count), model="photo_int8")),
            f"{CLASSIFY}, plain": lambda: plain("images", f"{images(IMAGES[0])}/0.jpg"),
            f"{WATCH}, plain": lambda: _each(
                IMAGES, lambda count: plain("images", *(f"{images(count)}/{number}.jpg" for number in range(count)))
            ),
            f"{CAMERA}, plain": lambda: _each(
                FRAMES, lambda count: plain("frames", f"{HERE}/recording.avi", str(count))
            ),
            f"{PHOTO_CAMERA}, plain": lambda: _each(
                FRAMES, lambda count: plain("crops", f"{HERE}/recording.avi", str(count), model="photo_int8")
            ),
        }
    product("classify", f"{images(IMAGES[0])}/0.jpg")  # compiles the byte code
    frames(1)
    product("watch", images(IMAGES[0]), "--once")
    return {name: way() for name, way in ways.items()}


def _each(lengths: tuple[int, int], run: Callable[[int], int]) -> float:
    short, long = map(run, lengths)
    return (long - short) / (lengths[1] - lengths[0])


def table(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> str:
    """Millions of instructions."""
    rows = []
    for runtime, found in now.items():
        former = before.get(runtime, {})
        for name in (CLASSIFY, WATCH, CAMERA, PHOTO_CAMERA, CALL, PHOTO_CALL):
            plain, now_, then = found.get(f"{name}, plain"), found.get(name), former.get(name)
            change = f"{now_ / then - 1:+.1%}" if now_ and then else ""
            ratio = f"{now_ / plain:.3f}" if now_ and plain else ""
            rows.append([name, runtime, *map(_millions, (then, now_)), change, _millions(plain), ratio])
    return markdown(
        ("millions of instructions", "runtime", "before", "after", "change", "a plain program", "x that"), rows
    )


def _millions(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f}"


@click.command()
@click.option("--source", type=click.Path(path_type=Path, exists=True), default=CHECKOUT, help="Checkout to measure.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="Counts of another checkout, of --json.")
@click.option("--json", "stored", type=click.Path(path_type=Path), help="Write the counts to this file.")
@click.option("--runtime", "runtimes", multiple=True, type=click.Choice(list(SYSTEMS)), help="Measure this one only.")
@click.option("--plain/--no-plain", default=True, help="Whether to count the plain program too.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to a file.")
def main(
    source: Path,
    before: Path | None,
    stored: Path | None,
    runtimes: tuple[str, ...],
    plain: bool,
    out: Path,
) -> None:
    """Print the instructions of one image, of one frame, and of one start."""
    if reason := missing():
        sys.exit(reason)
    chosen = runtimes or tuple(SYSTEMS)

    def measured(runtime: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as name:
            counter = Counter(installed(SYSTEMS[runtime], runtime), Path(name))
            lay_out(counter.folder, source)
            counter.prepare()
            return counts(counter, runtime, with_plain=plain)

    with ThreadPoolExecutor() as pool:  # side by side: counts do not depend on the load
        found = dict(zip(chosen, pool.map(measured, chosen), strict=True))
    if stored:
        stored.write_text(json.dumps(found, indent=1) + "\n")
    about = (
        f"aarch64 as a Raspberry Pi 4 has it (Cortex-A72), emulated; {IMAGES[1] - IMAGES[0]} images and"
        f" {FRAMES[1] - FRAMES[0]} frames of {PICTURE[0]} x {PICTURE[1]} pixels. All processes of a command together."
    )
    tell("tests.benchmarks.boards", [about, table(found, json.loads(before.read_text()) if before else {})], out)


if __name__ == "__main__":
    main()
