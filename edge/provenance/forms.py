"""Forms in which generating programs store their settings in a text, recognised by their structure.

Each was taken from the source code of the program that writes it, or from files that it wrote.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.verdict import EDITED, GENERATED

MOST_TEXT = 1 << 20  # characters
_MOST_LINE = 1 << 16  # characters of the last line of web UI settings
_MOST_SEED = 24  # digits
_MOST_LINKS = 16  # between nodes of ComfyUI
WEB_UI = "Stable Diffusion web UI"  # the form's first program; used where no program is named


@dataclass(frozen=True)
class Settings:
    """The settings that a program stored in a file.

    Attributes:
        program: its name.
        says: GENERATED or EDITED.
        model, seed: as stored; empty if they are not there.
        prompt, negative: what was asked for, and what was to be avoided; empty if they are not there.
        note: another fact in a few words.
        place: where they stand in the file.
        raw: the whole text, as stored.
    """

    program: str
    says: str = GENERATED
    model: str = ""
    seed: str = ""
    prompt: str = ""
    negative: str = ""
    note: str = ""
    place: str = ""
    raw: str = ""


def json_object(text: str) -> dict[str, Any] | None:
    """A text as a JSON object; None if it is something else."""
    text = text.strip("\0 \t\r\n")
    if not text.startswith("{") or len(text) > MOST_TEXT:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def settings(text: str) -> Settings | None:
    """Settings in a text whose form alone shows which program wrote it; None if it has no such form."""
    value = json_object(text)
    if value is None:
        return web_ui(text)
    return next((found for read in _OBJECTS if (found := read(value))), None)


def web_ui(text: str) -> Settings | None:
    """The form of AUTOMATIC1111's web UI, which many programs write: prompt, negative prompt, and a line "Steps: …"."""
    text = text[-MOST_TEXT:].strip("\0 \t\r\n")
    start = 0 if text.startswith("Steps: ") else text.rfind("\nSteps: ") + 1
    line = text[start : start + _MOST_LINE]
    if not line.startswith("Steps: "):
        return None
    pairs = _pairs(line)
    if not (pairs["Steps"].isdecimal() and seed_of(pairs.get("Seed")) and {"Size", "Sampler", "Model"} & pairs.keys()):
        return None
    version = pairs.get("Version", "")
    program = WEB_UI
    if pairs.get("App") == "SD.Next":
        program = "SD.Next"
    elif version.split(" ")[0] in ("ComfyUI", "Fooocus", "stable-diffusion.cpp"):
        program = version
    elif version[:1] == "f" and version[1:2].isdecimal():
        program = f"Stable Diffusion WebUI Forge {version}"
    elif version[:1] == "v" and version[1:2].isdecimal():
        program = f"{WEB_UI} {version}"
    prompt, _, negative = text[:start].partition("Negative prompt:")
    model = pairs.get("Model") or pairs.get("Unet", "")
    return Settings(program, GENERATED, model, pairs["Seed"], prompt.strip(), negative.strip())


def _pairs(line: str) -> dict[str, str]:
    """Names and values of a line "Name: value, Name: value"; of each name the first."""
    found: dict[str, str] = {}
    for part in line.split(","):
        name, separator, value = part.partition(":")
        if separator:
            found.setdefault(name.strip(), value.strip().strip('"'))
    return found


def seed_of(value: object) -> str:
    """A seed as text; empty if the value is none."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_MOST_SEED:
        return str(value)
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal() and len(value.strip()) <= _MOST_SEED:
        return value.strip()
    return ""


def text_of(value: object) -> str:
    """A value if it is a text, and empty otherwise."""
    return value.strip() if isinstance(value, str) else ""


def swarm_ui(value: dict[str, Any]) -> Settings | None:
    """SwarmUI: {"sui_image_params": {…}}."""
    found = value.get("sui_image_params")
    if not isinstance(found, dict):
        return None
    version = text_of(found.get("swarm_version"))
    return Settings(
        f"SwarmUI {version}".strip(),
        model=text_of(found.get("model")),
        seed=seed_of(found.get("seed")),
        prompt=text_of(found.get("prompt")),
        negative=text_of(found.get("negativeprompt")),
    )


def fooocus(value: dict[str, Any]) -> Settings | None:
    """Fooocus and its variants: a flat object."""
    if not (text_of(value.get("base_model")) and "prompt" in value and seed_of(value.get("seed"))):
        return None
    version = text_of(value.get("version") or value.get("software"))
    return Settings(
        version if version.startswith("Fooocus") else "Fooocus",
        model=text_of(value["base_model"]),
        seed=seed_of(value["seed"]),
        prompt=text_of(value["prompt"]),
        negative=text_of(value.get("negative_prompt")),
    )


def draw_things(value: dict[str, Any]) -> Settings | None:
    """Draw Things: {"c": prompt, "uc": negative prompt, "model": …, "seed": …, "sampler": …}."""
    if not (isinstance(value.get("c"), str) and text_of(value.get("model")) and "sampler" in value):
        return None
    return Settings(
        "Draw Things",
        model=text_of(value["model"]),
        seed=seed_of(value.get("seed")),
        prompt=text_of(value["c"]),
        negative=text_of(value.get("uc")),
    )


def mflux(value: dict[str, Any]) -> Settings | None:
    """MFLUX: {"mflux_version": …, "model": …, "seed": …}."""
    if not (version := text_of(value.get("mflux_version"))):
        return None
    return Settings(
        f"MFLUX {version}",
        model=text_of(value.get("model")),
        seed=seed_of(value.get("seed")),
        prompt=text_of(value.get("prompt")),
        negative=text_of(value.get("negative_prompt")),
    )


def easy_diffusion(value: dict[str, Any]) -> Settings | None:
    """Easy Diffusion: by the names of its parameters, or by their titles."""
    model = text_of(value.get("use_stable_diffusion_model") or value.get("Stable Diffusion model"))
    seed = seed_of(value.get("seed", value.get("Seed")))
    if not (model and seed):
        return None
    return Settings(
        "Easy Diffusion",
        model=model,
        seed=seed,
        prompt=text_of(value.get("prompt") or value.get("Prompt")),
        negative=text_of(value.get("negative_prompt") or value.get("Negative Prompt")),
    )


def comfy_ui_object(value: dict[str, Any]) -> Settings | None:
    """ComfyUI's prompt and workflow in one object."""
    prompt, workflow = value.get("prompt"), value.get("workflow")
    return comfy_ui(prompt if isinstance(prompt, dict) else None, workflow if isinstance(workflow, dict) else None)


def comfy_ui(prompt: dict[str, Any] | None, workflow: dict[str, Any] | None) -> Settings | None:
    """ComfyUI: the executed nodes ({number: {"class_type": …, "inputs": {…}}}), and the workflow of its editor.

    A workflow that samples nothing only changes pictures.
    """
    nodes = {
        str(number): node
        for number, node in (prompt or {}).items()
        if isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
    }
    if not nodes:
        drawn = (workflow or {}).get("nodes")
        kinds = [node.get("type") for node in drawn if isinstance(node, dict)] if isinstance(drawn, list) else []
        if not kinds or "links" not in (workflow or {}):
            return None
        is_sampled = any(isinstance(kind, str) and "Sampler" in kind for kind in kinds)
        return Settings("ComfyUI", GENERATED if is_sampled else EDITED, note="" if is_sampled else "nothing sampled")
    model = seed = text = negative = ""
    for node in nodes.values():
        inputs = node["inputs"]
        model = model or next(
            (text_of(inputs[key]) for key in ("ckpt_name", "unet_name", "model_name") if text_of(inputs.get(key))), ""
        )
        if not seed and (seed := next((s for key in ("seed", "noise_seed") if (s := seed_of(inputs.get(key)))), "")):
            text = _linked_text(nodes, inputs.get("positive"))
            negative = _linked_text(nodes, inputs.get("negative"))
    is_sampled = bool(seed) or any("Sampler" in node["class_type"] for node in nodes.values())
    if not text:
        texts = (text_of(n["inputs"].get("text")) for n in nodes.values() if n["class_type"].startswith("CLIPText"))
        text = next(filter(None, texts), "")
    says, note = (GENERATED, "") if is_sampled else (EDITED, "nothing sampled")
    return Settings("ComfyUI", says, model, seed, text, negative, note)


def _linked_text(nodes: dict[str, dict[str, Any]], link: object) -> str:
    """The text of the node that an input leads to, by the first input of each node between."""
    for _ in range(_MOST_LINKS):
        if not (isinstance(link, list) and link and isinstance(link[0], str | int)):
            return ""
        node = nodes.get(str(link[0]))
        if node is None:
            return ""
        inputs = node["inputs"]
        if text := text_of(inputs.get("text")):
            return text
        link = inputs.get("text") or inputs.get("positive") or inputs.get("conditioning")
    return ""


_OBJECTS: tuple[Callable[[dict[str, Any]], Settings | None], ...] = (
    swarm_ui,
    mflux,
    fooocus,
    draw_things,
    easy_diffusion,
    comfy_ui_object,
)
