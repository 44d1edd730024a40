"""Which LiteRT runtime, with how many threads and how many images at once: python -m tests.benchmarks.runtimes

Each is measured in processes of its own, in turns, for the two cannot share one.

With --model it measures one case itself and prints a line of JSON. For that the
file needs nothing but the runtime and numpy, so that it can be copied to a
board, or into the file system of an emulated one:

    python3 runtimes.py --model compact_int8.tflite --runtime tflite-runtime --threads 4 --json

and --command names how to start it there, so that the cases can be compared:

    python -m tests.benchmarks.runtimes --models /models \\
        --command 'tflite-runtime=enter ROOT /opt/edge-detect/bin/python /runtimes.py'
"""

import argparse
import importlib
import json
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODULES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
MODELS = ("compact_int8", "compact_float16")


def one(model: str, runtime: str, threads: int, batch: int, seconds: float) -> dict:
    """Milliseconds an image, of the clock and of the processor."""
    import numpy as np

    interpreter = importlib.import_module(f"{MODULES[runtime]}.interpreter").Interpreter(
        model_path=model, num_threads=threads
    )
    details = interpreter.get_input_details()[0]
    shape = [batch, *details["shape"][1:].tolist()]
    if batch > 1:
        interpreter.resize_tensor_input(details["index"], shape)
    interpreter.allocate_tensors()
    values = np.random.default_rng(0).integers(-128, 128, shape)
    values = values.astype(np.int8) if details["dtype"] == np.int8 else ((values + 128) / 255).astype(np.float32)
    interpreter.set_tensor(details["index"], values)
    for _ in range(3):
        interpreter.invoke()
    taken, cpu, began = [], time.process_time(), time.perf_counter()
    before = began
    while not taken or before - began < seconds:
        interpreter.invoke()
        now = time.perf_counter()
        taken.append(now - before)
        before = now
    cpu = (time.process_time() - cpu) / len(taken) / batch
    output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel().tolist()
    return {
        "ms": statistics.median(taken) * 1000 / batch,
        "cpu_ms": cpu * 1000,
        "calls": len(taken),
        "output": output,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def everything(options: argparse.Namespace) -> None:
    from tests.benchmarks.tables import markdown, rounded, tell

    starts = dict(command.split("=", 1) for command in options.command)
    own = [sys.executable, __file__]
    runtimes = list(starts) or list(MODULES)
    # Several images at once matter to a single thread alone: with more, each has an interpreter of its own.
    settings = [(threads, 1) for threads in options.threads] + [(1, batch) for batch in options.batches]
    cases = [(model, runtime, *setting) for model in MODELS for runtime in runtimes for setting in settings]
    taken: dict[tuple, list[dict]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case in cases:
            model, runtime, threads, batch = case
            words = [*(shlex.split(starts[runtime]) if runtime in starts else own), "--json"]
            words += ["--model", f"{options.models}/{model}.tflite", "--runtime", runtime, "--threads", str(threads)]
            words += ["--batches", str(batch), "--seconds", str(options.seconds / options.rounds)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{shlex.join(words)}: {done.stderr.strip()[-300:] or done.returncode}")
            taken[case].append(json.loads(done.stdout.splitlines()[-1]))
    best = min(statistics.median(turn["ms"] for turn in turns) for turns in taken.values())
    rows = []
    for (model, runtime, threads, batch), turns in taken.items():
        ms, cpu = (statistics.median(turn[name] for turn in turns) for name in ("ms", "cpu_ms"))
        least = min(turn["ms"] for turn in turns)
        rows.append([model, runtime, str(threads), str(batch), *map(rounded, (ms, least, cpu, ms / best))])
    here = next(iter(taken.values()))[0]
    about = f"Median of {options.rounds} processes each, in turns; {here['machine']}, Python {here['python']}."
    if here["machine"] != platform.machine():
        about += " Emulated: no board takes such times, and their ratios are a hint at most."
    heading = ("model", "runtime", "threads", "images a call", "ms each", "least", "CPU ms each", "x the best")
    tell("tests.benchmarks.runtimes", [about, markdown(heading, rows)], options.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="measure this file alone")
    parser.add_argument("--runtime", choices=list(MODULES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batches", type=int, nargs="*", default=[8], help="images at once, beside one")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case, over all rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--models",
        default=str(Path(__file__).absolute().parent.parent.parent / "models"),
        help="folder, as the command sees it",
    )
    parser.add_argument(
        "--command", action="append", default=[], metavar="RUNTIME=WORDS", help="starts this file elsewhere"
    )
    parser.add_argument("--out", type=Path, help="write the table to a file")
    options = parser.parse_args()
    if options.model:
        batch = next(iter(options.batches), 1)
        print(json.dumps(one(options.model, options.runtime, options.threads[0], batch, options.seconds)))
    else:
        everything(options)


if __name__ == "__main__":
    main()
