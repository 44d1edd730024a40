"""The lines of docs/fleet.md, as a newcomer types them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, environment
from tests.support.nats import pictures, server_program
from tests.support.packages import missing
from tests.support.ports import free_port

PORTS = ("4221", "4222", "4223", "6221", "6222", "6223")


def lines_of(section: str) -> str:
    text = (CHECKOUT / "docs" / "fleet.md").read_text("utf-8")
    blocks = re.findall(rf"^```bash {section}\n(.*?)^```$", text, re.M | re.S)
    assert blocks
    return "".join(blocks)


@pytest.mark.parametrize("section", ["one", "credentials", "tls", "cluster"])
def test_lines_of_the_page_answer_every_picture(tmp_path: Path, section: str) -> None:
    if section == "tls" and not shutil.which("openssl"):
        missing("openssl")
    script = lines_of(section)
    if section == "cluster":  # the loop writes 422$number
        script = script.replace('422$number"', '$((PORT + number))"').replace('622$number"', '$((ROUTE + number))"')
    ports = {port: str(free_port()) for port in PORTS}
    if section == "cluster":
        base, route = 20_000 + os.getpid() % 4000 * 4, 40_000 + os.getpid() % 4000 * 4
        ports = {f"422{n}": str(base + n) for n in (1, 2, 3)} | {f"622{n}": str(route + n) for n in (1, 2, 3)}
        script = f"PORT={base} ROUTE={route}\n{script}"
    for port, other in ports.items():
        script = re.sub(rf"(?<=:){port}\b", other, script)
    script = script.replace("0.0.0.0", "127.0.0.1")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nats-server").symlink_to(server_program())
    shim = programs / "edge-detect"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m edge "$@"\n')
    shim.chmod(0o755)
    pictures(tmp_path / "pictures", 5)
    whole = f"set -e\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n{script}"
    variables = environment(HOME=str(tmp_path), PATH=f"{programs}:{os.environ['PATH']}")
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(["bash", "-c", whole], cwd=tmp_path, env=variables, stdout=log, stderr=log, timeout=110)
    assert done.returncode == 0, (tmp_path / "log").read_text("utf-8")[-4000:]
    answers = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert sorted(Path(answer["path"]).name for answer in answers) == [f"{number}.png" for number in range(5)]
    assert all("label" in answer for answer in answers)
