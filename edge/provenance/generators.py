"""The settings that generating programs store in a file: which program writes which field, and in which form.

| program | where |
|---|---|
| Stable Diffusion web UI, Forge, SD.Next | PNG text `parameters`; EXIF UserComment |
| stable-diffusion.cpp | PNG text `parameters`; JPEG comment; XMP sdcpp:parameters |
| ComfyUI | PNG texts `prompt`, `workflow`; EXIF Make, Model, ImageDescription as "prompt:{…}"; EXIF UserComment |
| InvokeAI | PNG texts `invokeai_metadata`, `invokeai_graph`, `sd-metadata`, `Dream` |
| Fooocus | PNG texts `parameters`, `fooocus_scheme`, `Comment`; EXIF UserComment, MakerNote, Software |
| NovelAI | PNG texts `Software`, `Source`, `Comment`, `Description`; the same in EXIF |
| SwarmUI | PNG text `parameters`; EXIF UserComment, Model |
| Draw Things, MFLUX | XMP exif:UserComment, xmp:CreatorTool; EXIF UserComment |
| Easy Diffusion | PNG texts by the names of its parameters; EXIF UserComment |
| imaginAIry | EXIF Software, UserComment |
| Midjourney | PNG text `Description`, XMP dc:description |
| services in China | XMP TC260:AIGC (GB 45438-2025) |

Marks within the pixels, as NovelAI and others write them into the alpha channel, are not read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edge.provenance import forms, xmp
from edge.provenance.exif import Value
from edge.provenance.forms import Settings, json_object, seed_of, text_of
from edge.verdict import EDITED

_JOB = re.compile(r"\bJob ID: ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\Z")
_JOB_CHARACTERS = 56  # at the end of a description
_SEED = re.compile(r" --seed (\d{1,24})(?= |\Z)")
_MOST_DESCRIPTION = 1 << 14  # characters
_DREAM = re.compile(r'"(.*)" (-.*)')
_DREAM_SEED = re.compile(r"(?:^| )-S ?(\d{1,24})(?= |\Z)")
_LABELS = {"1": "AI-generated", "2": "possibly AI-generated", "3": "suspected AI-generated"}  # of GB 45438-2025
_IMAGINAIRY = "Imaginairy / Stable Diffusion "


def settings(
    texts: Sequence[tuple[str, str]], exif: Mapping[str, Value], properties: xmp.Properties, name: str
) -> tuple[Settings, ...]:
    """The settings in a file, in the order of the table above.

    Args:
        texts: PNG texts and comments.
        exif: see `edge.provenance.exif.fields`.
        properties: of XMP.
        name: of the format.
    """
    found: list[Settings] = []
    if texts:
        keywords: dict[str, str] = {}
        for keyword, text in texts:
            keywords.setdefault(keyword, text)
        place = "PNG text" if name == "PNG" else "comment"
        found += (replace(item, place=f"{place} {item.place}".strip()) for item in _of_texts(keywords))
    found += _of_exif(exif)
    found += _of_xmp(properties)
    if any(item.program != forms.WEB_UI for item in found):
        found = [item for item in found if item.program != forms.WEB_UI]
    return tuple(found)


def _of_texts(texts: Mapping[str, str]) -> Iterator[Settings]:
    for keyword in ("parameters", ""):
        text = texts.get(keyword, "")
        if text and (item := forms.settings(text)):
            yield replace(item, place=keyword, raw=text)
    if texts.get("postprocessing", "").startswith("Postprocess "):
        text = texts["postprocessing"]
        yield Settings(
            forms.WEB_UI + " (extras)", EDITED, note="enlarged or restored", place="postprocessing", raw=text
        )
    for keyword in ("prompt", "workflow"):  # the second is large, and says less
        graph = json_object(texts.get(keyword, ""))
        if graph and (item := forms.comfy_ui(*((graph, None) if keyword == "prompt" else (None, graph)))):
            yield replace(item, place=keyword, raw=texts[keyword])
            break
    for read in (_invoke_ai, _novel_ai, _easy_diffusion):
        if item := read(texts):
            yield item
    if (value := json_object(texts.get("Comment", ""))) and (item := forms.fooocus(value)):
        yield replace(item, place="Comment", raw=texts["Comment"])
    if item := midjourney(texts.get("Description", "")):
        yield replace(item, place="Description")


def _invoke_ai(texts: Mapping[str, str]) -> Settings | None:
    if value := json_object(texts.get("invokeai_metadata", "")):
        model = value.get("model")
        name = text_of(model.get("name") or model.get("model_name")) if isinstance(model, dict) else text_of(model)
        return Settings(
            f"InvokeAI {text_of(value.get('app_version'))}".strip(),
            model=name,
            seed=seed_of(value.get("seed")),
            prompt=text_of(value.get("positive_prompt")),
            negative=text_of(value.get("negative_prompt")),
            place="invokeai_metadata",
            raw=texts["invokeai_metadata"],
        )
    value = json_object(texts.get("sd-metadata", ""))
    if value and isinstance(image := value.get("image"), dict):
        return Settings(
            f"InvokeAI {text_of(value.get('app_version'))}".strip(),
            model=text_of(value.get("model_weights")),
            seed=seed_of(image.get("seed")),
            prompt=_invoke_prompt(image.get("prompt")),
            place="sd-metadata",
            raw=texts["sd-metadata"],
        )
    dream = texts.get("Dream", "").strip()[:_MOST_DESCRIPTION]
    if match := _DREAM.fullmatch(dream):
        seed = _DREAM_SEED.search(match[2])
        return Settings("InvokeAI", seed=seed[1] if seed else "", prompt=match[1], place="Dream", raw=dream)
    if json_object(texts.get("invokeai_graph", "")):
        return Settings("InvokeAI", place="invokeai_graph", raw=texts["invokeai_graph"])
    return None


def _invoke_prompt(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0].get("prompt")
    return text_of(value)


def _novel_ai(texts: Mapping[str, str]) -> Settings | None:
    if texts.get("Software") != "NovelAI":
        return None
    value = json_object(texts.get("Comment", "")) or {}
    return Settings(
        "NovelAI",
        model=texts.get("Source", "").strip(),
        seed=seed_of(value.get("seed")),
        prompt=texts.get("Description", "").strip() or text_of(value.get("prompt")),
        negative=text_of(value.get("uc")),
        place="Comment",
        raw=texts.get("Comment", ""),
    )


def _easy_diffusion(texts: Mapping[str, str]) -> Settings | None:
    item = forms.easy_diffusion(dict(texts))
    return replace(item, place="use_stable_diffusion_model") if item else None


def midjourney(description: str) -> Settings | None:
    """A description as Midjourney writes it: the prompt with its parameters, then "Job ID: " and a UUID."""
    description = description.strip()
    match = _JOB.search(description, max(0, len(description) - _JOB_CHARACTERS))
    if not match or len(description) > _MOST_DESCRIPTION:
        return None
    prompt = description[: match.start()].strip()
    seed = _SEED.search(prompt)
    return Settings("Midjourney", seed=seed[1] if seed else "", prompt=prompt, note=f"job {match[1]}", raw=description)


def _of_exif(exif: Mapping[str, Value]) -> Iterator[Settings]:
    software, comment = str(exif.get("Software", "")), str(exif.get("UserComment", ""))
    if software.startswith(_IMAGINAIRY):
        model = software.removeprefix(_IMAGINAIRY)
        yield Settings("imaginAIry", model=model, seed=_imaginairy_seed(comment), place="EXIF UserComment", raw=comment)
    elif software == "NovelAI":
        value = json_object(comment) or {}
        yield Settings(
            "NovelAI",
            seed=seed_of(value.get("seed")),
            prompt=str(exif.get("ImageDescription", "")),
            negative=text_of(value.get("uc")),
            place="EXIF UserComment",
            raw=comment,
        )
    elif comment and (item := forms.settings(comment)):
        if software.startswith("Fooocus v"):
            item = replace(item, program=software)
        yield replace(item, place="EXIF UserComment", raw=comment)
    graphs: dict[str, str] = {}
    for field in ("Make", "Model", "ImageDescription"):
        text = str(exif.get(field, ""))
        name, separator, rest = text[:10].partition(":")
        if separator and name.lower() in ("prompt", "workflow") and rest.lstrip().startswith("{"):
            graphs.setdefault(name.lower(), text.partition(":")[2].strip())
        elif field == "Model" and (swarm := forms.swarm_ui(json_object(text) or {})):
            yield replace(swarm, place="EXIF Model", raw=text)
    if graphs:
        graph = forms.comfy_ui(json_object(graphs.get("prompt", "")), json_object(graphs.get("workflow", "")))
        if graph:
            yield replace(graph, place="EXIF Make and Model", raw=graphs.get("prompt") or graphs["workflow"])


def _imaginairy_seed(comment: str) -> str:
    value = json_object(comment) or {}
    prompt = value.get("prompt")
    return seed_of(prompt.get("seed")) if isinstance(prompt, dict) else ""


def _of_xmp(properties: xmp.Properties) -> Iterator[Settings]:
    for text in properties.get((xmp.SD_CPP, "parameters"), [])[:1]:
        if item := forms.web_ui(text):
            yield replace(item, place="XMP sdcpp:parameters", raw=text)
    for text in properties.get((xmp.EXIF, "UserComment"), [])[:1]:
        if item := forms.settings(text):
            yield replace(item, place="XMP exif:UserComment", raw=text)
    for text in properties.get((xmp.DC, "description"), [])[:1]:
        if item := midjourney(text):
            yield replace(item, place="XMP dc:description")
    for text in properties.get((xmp.AIGC, "AIGC"), [])[:1]:
        value = json_object(text) or {}
        if label := _LABELS.get(str(value.get("Label"))):
            producer = text_of(value.get("ContentProducer"))
            yield Settings(producer, note=f"labelled {label} by GB 45438", place="XMP TC260:AIGC", raw=text)
