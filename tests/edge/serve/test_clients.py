"""The real clients of Gradio and Hugging Face, in environments of their own, get their answers."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import node_with, python_with
from tests.support.serving import Serving, form

pytestmark = pytest.mark.timeout(400)  # the first time, they are installed

GRADIO = {
    "0.6.1": ("gradio_client==0.6.1", "huggingface_hub<0.26", "websockets<12", "httpx<0.28"),
    "1.3": ("gradio_client==1.3.0", "huggingface_hub<0.26", "httpx<0.28"),
    "1.14": ("gradio_client==1.14.0", "huggingface_hub<1"),
    "2.7": ("gradio_client==2.7.0",),
}
HUB = {"0.25": ("huggingface_hub==0.25.2",), "2.4": ("huggingface_hub==2.4.0",)}
JAVASCRIPT = {"1.15": "@gradio/client@1.15.0", "2.7": "@gradio/client@2.7.0"}

GRADIO_PROGRAM = """
import json, sys
from gradio_client import Client
try:
    from gradio_client import handle_file
except ImportError:
    handle_file = str
address, token, *images = sys.argv[1:]
name = "token" if hasattr(Client, "stream_messages") and TOKEN == "token" else "hf_token"
client = Client(address, verbose=False, **({name: token} if token else {}))
found = []
for image in images:
    answer = client.predict(handle_file(image), api_name="/predict")
    if isinstance(answer, str):  # version 0 saves it
        answer = json.load(open(answer))
    found.append(answer)
jobs = [client.submit(handle_file(image), api_name="/predict") for image in images]
found += [json.load(open(one)) if isinstance(one, str) else one for one in (job.result(30) for job in jobs)]
print(json.dumps(found))
"""

HUB_PROGRAM = """
import json, sys
from huggingface_hub import InferenceClient
address, token, *images = sys.argv[1:]
client = InferenceClient(model=address, token=token or None)
found = [[(one.label, one.score) for one in client.image_classification(image)] for image in images]
options = {"top_k": 1} if TOP_K else {}
found.append([(one.label, one.score) for one in client.image_classification(open(images[0], "rb").read(), **options)])
print(json.dumps(found))
"""

JAVASCRIPT_PROGRAM = """
import { Client } from "@gradio/client";
import { readFileSync } from "node:fs";
const [address, token, ...images] = process.argv.slice(2);
const client = await Client.connect(address, token ? { token: token, hf_token: token } : {});
const found = [];
for (const image of images) {
  const answer = await client.predict("/predict", [new Blob([readFileSync(image)], { type: "image/png" })]);
  found.push(answer.data[0]);
}
console.log(JSON.stringify(found));
process.exit(0);
"""


def run(*words: str | Path, cwd: Path, **variables: str) -> Any:
    """The JSON that a program prints last."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "GRADIO"))}
    variables = {"HOME": str(cwd), "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False", **variables}
    done = subprocess.run(
        words, cwd=cwd, env=kept | variables, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def require_labels(found: list[Any], *labels: str) -> None:
    assert [one["label"] for one in found] == list(labels)
    for one in found:
        shares = {part["label"]: part["confidence"] for part in one["confidences"]}
        assert set(shares) == {"FAKE", "REAL"}
        assert abs(sum(shares.values()) - 1) < 1e-6
        assert max(shares, key=lambda label: shares[label]) == one["label"]


@pytest.mark.parametrize("version", GRADIO)
def test_python_client_of_gradio_gets_its_answers(
    version: str, server: Serving, bright: Path, dark: Path, tmp_path: Path
) -> None:
    python = python_with(f"gradio_client-{version}", *GRADIO[version])
    program = GRADIO_PROGRAM.replace("TOKEN", repr("token" if version == "2.7" else "hf_token"))
    found = run(python, "-c", program, f"{server.url}/", "", bright, dark, cwd=tmp_path)
    require_labels(found, "REAL", "FAKE", "REAL", "FAKE")


@pytest.mark.parametrize("version", GRADIO)
def test_python_client_of_gradio_passes_with_token_only(
    version: str, guarded: Serving, bright: Path, tmp_path: Path
) -> None:
    python = python_with(f"gradio_client-{version}", *GRADIO[version])
    program = GRADIO_PROGRAM.replace("TOKEN", repr("token" if version == "2.7" else "hf_token"))
    require_labels(run(python, "-c", program, guarded.url, guarded.token, bright, cwd=tmp_path), "REAL", "REAL")
    words = (python, "-c", program, guarded.url, "", bright)
    refused = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path)}
    )
    assert refused.returncode


@pytest.mark.parametrize("version", JAVASCRIPT)
@pytest.mark.parametrize("has_token", [False, True], ids=["open", "with token"])
def test_javascript_client_of_gradio_gets_its_answers(
    version: str, has_token: bool, request: pytest.FixtureRequest, bright: Path, dark: Path, tmp_path: Path
) -> None:
    folder = node_with(f"gradio-js-{JAVASCRIPT[version].rpartition('@')[2]}", JAVASCRIPT[version])
    serving: Serving = request.getfixturevalue("guarded" if has_token else "server")
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    (tmp_path / "program.mjs").write_text(JAVASCRIPT_PROGRAM)
    token = serving.token if has_token else ""
    found = run("node", tmp_path / "program.mjs", serving.url, token, bright, dark, cwd=tmp_path)
    require_labels(found, "REAL", "FAKE")


@pytest.mark.parametrize("version", HUB)
@pytest.mark.parametrize("path", ["/models/any/name", "/hf-inference/models/any/name"])
def test_inference_client_of_hugging_face_gets_its_answers(
    version: str, path: str, guarded: Serving, bright: Path, dark: Path, tmp_path: Path
) -> None:
    python = python_with(f"huggingface_hub-{version}", *HUB[version])
    address = guarded.url + path
    has_parameters = version != "0.25"  # sends base64 then
    program = HUB_PROGRAM.replace("TOP_K", str(has_parameters))
    first, second, last = run(python, "-c", program, address, guarded.token, bright, dark, cwd=tmp_path)
    assert [label for label, _ in first] == ["REAL", "FAKE"]
    assert [label for label, _ in second] == ["FAKE", "REAL"]
    assert [label for label, _ in last] == ["REAL"] if has_parameters else ["REAL", "FAKE"]


def test_form_of_web_demo_gets_gradio_answer(guarded: Serving, dark: Path) -> None:
    body, headers = form(("data", "fake1.jpg", dark.read_bytes()))
    import base64

    basic = base64.b64encode(f"x:{guarded.token}".encode()).decode()
    answer = guarded.ask("/api/predict", "POST", body, headers | {"Authorization": f"Basic {basic}"})
    assert answer.status == 200, answer.body
    require_labels(answer.json["data"], "FAKE")
    assert answer.json["is_generating"] is False
    assert answer.json["duration"] > 0


@pytest.mark.parametrize("prefix", ["", "/gradio_api"])
def test_curl_recipe_of_gradio_gets_its_answer(server: Serving, dark: Path, prefix: str) -> None:
    body, headers = form(("files", "a b.png", dark.read_bytes()))
    (name,) = server.ask(f"{prefix}/upload", "POST", body, headers).json
    assert name.startswith("edge-detect/")
    asked = server.ask(f"{prefix}/call/predict", "POST", json.dumps({"data": [{"path": name}]}).encode())
    event = asked.json["event_id"]
    lines = server.ask(f"{prefix}/call/predict/{event}").body.decode().splitlines()
    assert lines[0] == "event: complete"
    require_labels(json.loads(lines[1].removeprefix("data: ")), "FAKE")
    assert server.ask(f"{prefix}/call/predict/{event}").status == 404, "an answer is given once"


def test_hub_takes_raw_bytes_and_base64(server: Serving, bright: Path) -> None:
    import base64

    raw = server.ask("/models/any/name", "POST", bright.read_bytes())
    assert [one["label"] for one in raw.json] == ["REAL", "FAKE"]
    text = base64.b64encode(bright.read_bytes()).decode()
    fields = {"inputs": text, "parameters": {"top_k": 1}}
    answer = server.ask("/models/any/name", "POST", json.dumps(fields).encode(), {"Content-Type": "application/json"})
    assert answer.json == raw.json[:1]


def test_hub_reports_errors_as_its_clients_read_them(server: Serving, tmp_path: Path) -> None:
    answer = server.ask("/models/any/name", "POST", b"no image")
    assert answer.status == 422
    assert "not an image" in answer.json["error"]
