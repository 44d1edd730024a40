"""Compile an int8 file for the Edge TPU with Google's `edgetpu_compiler`."""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from convert.errors import CompilerError
from edge.inference.model import ModelDescription, description_path

PROGRAM = "edgetpu_compiler"
NOT_INSTALLED = (
    f"{PROGRAM} is not installed; it is a program for x86-64 Linux: https://coral.ai/docs/edgetpu/compiler/#download"
)
TIMEOUT_SECONDS = 600
MAPPED = "Mapped to Edge TPU"

# "CONV_2D                        6          Mapped to Edge TPU"
_ROW = re.compile(r"^([\w-]+)[ \t]+(\d+)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """The compiler's report on each kind of operation.

    Attributes:
        mapped: number of operations on the Edge TPU, by name.
        unmapped: (name, number, the compiler's reason) of operations that are left to the CPU.
    """

    mapped: dict[str, int]
    unmapped: tuple[tuple[str, int, str], ...]

    @classmethod
    def parse(cls, output: str) -> "Report":
        """Read the report from the compiler's output.

        Raises:
            CompilerError: the output has no table of operations.
        """
        rows = [(name, int(count), status) for name, count, status in _ROW.findall(output)]
        if not rows:
            raise CompilerError(f"{PROGRAM} printed no table of operations")
        return cls(
            {name: count for name, count, status in rows if status == MAPPED},
            tuple(row for row in rows if row[2] != MAPPED),
        )


def is_available() -> bool:
    """Whether the compiler is on the PATH."""
    return shutil.which(PROGRAM) is not None


def compile_model(model: Path, out: Path, *, allow_cpu: bool) -> Report:
    """Write `<name>_edgetpu.tflite` and its JSON into `out`.

    Args:
        allow_cpu: accept a model with operations that stay on the CPU.

    Raises:
        CompilerError: the compiler is missing or fails, or leaves operations to the CPU without `allow_cpu`.
    """
    if not is_available():
        raise CompilerError(NOT_INSTALLED)
    command = [PROGRAM, "--show_operations", "--out_dir", str(out), str(model)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"{PROGRAM}: {error}") from error
    compiled = out / f"{model.stem}_edgetpu.tflite"
    if done.returncode or not compiled.exists():
        message = (done.stderr.strip() or done.stdout.strip() or "it printed no message").splitlines()[-1]
        raise CompilerError(f"{PROGRAM} failed on {model.name}: {message}")
    report = Report.parse(done.stdout)
    if report.unmapped and not allow_cpu:
        left = "; ".join(f"{count} {name}: {reason}" for name, count, reason in report.unmapped)
        raise CompilerError(f"some operations do not run on the Edge TPU ({left}); --allow-cpu accepts that")
    described = ModelDescription.from_json(description_path(model).read_text("utf-8"))
    described = replace(
        described,
        name=compiled.stem,
        sha256=hashlib.sha256(compiled.read_bytes()).hexdigest(),
        measured={"edgetpu_operations": report.mapped, "cpu_operations": report.unmapped, "compiled_from": model.name},
    )
    description_path(compiled).write_text(described.to_json(), "utf-8")
    return report
