"""Settings of generating programs, in the places and forms in which each of them writes them."""

import json

import pytest

from edge.provenance import read
from edge.provenance.forms import WEB_UI, Settings
from edge.verdict import EDITED, GENERATED, Evidence
from tests.support.metadata import (
    chunk,
    encoded,
    exif_of,
    plain,
    png,
    segment,
    unicode_comment,
    with_exif,
    with_segments,
    xmp_packet,
)

COMMENT = 0x9286
PROMPT = "a wooden boat on a lake, Steps: many"
WEB_UI_TEXT = (
    f"{PROMPT}\nin the morning\nNegative prompt: people, text\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x512, "
    'Model hash: 6ce0161689, Model: v1-5-pruned, Lora hashes: "one: 1, two: 2"'
)
COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lake", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "people", "clip": ["4", 1]}},
}
WORKFLOW = {"nodes": [{"id": 3, "type": "KSampler"}], "links": [], "version": 0.4}
SWARM = {
    "sui_image_params": {
        "prompt": "a lake",
        "negativeprompt": "people",
        "model": "OfficialStableDiffusion/sd_xl_base_1.0",
        "seed": 1395176461,
        "steps": 20,
        "swarm_version": "0.9.3.1",
    }
}
FOOOCUS = {
    "base_model": "juggernautXL",
    "prompt": "a lake",
    "negative_prompt": "",
    "seed": "6952411511246973023",
    "steps": 30,
    "version": "Fooocus v2.4.3",
}
DRAW_THINGS = {"c": "a lake", "uc": "people", "model": "sd.ckpt", "sampler": "Euler A", "scale": 5, "seed": 42}
EASY = {
    "prompt": "a lake",
    "negative_prompt": "people",
    "seed": 42,
    "use_stable_diffusion_model": "sd-v1-5",
    "num_inference_steps": 25,
}
MFLUX = {"mflux_version": "0.17.5", "model": "schnell", "seed": 42, "prompt": "a lake"}
JOB = "0f5a8b9c-1d2e-3f40-8a9b-0c1d2e3f4a5b"


def settings(data: bytes) -> list[Settings]:
    _, facts, _ = read.parsed(data)
    return list(facts.settings) if facts else []


def only(data: bytes) -> Settings:
    (found,) = settings(data)
    return found


def evidence(data: bytes) -> Evidence:
    (found,) = read.parsed(data)[2]
    return found


def comment_file(name: str, text: str) -> bytes:
    return with_exif(name, {}, {COMMENT: unicode_comment(text)})


@pytest.mark.parametrize(
    "data", [png(("parameters", WEB_UI_TEXT)), *(comment_file(n, WEB_UI_TEXT) for n in ("JPEG", "WEBP"))]
)
def test_web_ui_settings_are_read_from_png_texts_and_exif_comments(data: bytes) -> None:
    found = only(data)
    assert (found.program, found.model, found.seed) == (WEB_UI, "v1-5-pruned", "965400086")
    assert found.prompt == f"{PROMPT}\nin the morning"
    assert found.negative == "people, text"
    assert found.raw == WEB_UI_TEXT
    assert evidence(data) == Evidence("text", GENERATED, WEB_UI, "model v1-5-pruned, seed 965400086")


@pytest.mark.parametrize(
    ("ending", "program"),
    [
        (", Version: v1.10.1", f"{WEB_UI} v1.10.1"),
        (
            ", Version: f2.0.1v1.10.1-previous-659-gc055f2d4",
            "Stable Diffusion WebUI Forge f2.0.1v1.10.1-previous-659-gc055f2d4",
        ),
        (", App: SD.Next, Version: 9726b4d, Pipeline: StableDiffusionXLPipeline", "SD.Next"),
        (", Version: ComfyUI", "ComfyUI"),
        (", Version: Fooocus v2.5.5, User: someone", "Fooocus v2.5.5"),
        (", Version: stable-diffusion.cpp", "stable-diffusion.cpp"),
        ("", WEB_UI),
    ],
)
def test_program_of_web_ui_settings_is_named_by_their_version(ending: str, program: str) -> None:
    assert only(png(("parameters", WEB_UI_TEXT + ending))).program == program


@pytest.mark.parametrize(
    "text",
    [
        "Steps: 20",
        "a recipe\nSteps: mix, stir, bake",
        "walk\nSteps: 9000, Size: 44",
        "Steps: 20, Seed: none, Sampler: x, Size: 1x1",
        "made with Stable Diffusion and Midjourney by an AI",
        "{}",
        "{" * 5000,
        '{"a":' * 5000,
        "[" * 20_000,
        '{"seed": 1, "prompt": "a lake"}',
        '{"base_model": "x"}',
        '{"sui_image_params": 1}',
        '{"1": {"class_type": 2, "inputs": {}}}',
    ],
)
@pytest.mark.parametrize("keyword", ["parameters", "prompt", "workflow", "Comment", "Description", "Dream", "Title"])
def test_other_texts_are_not_settings(keyword: str, text: str) -> None:
    assert settings(png((keyword, text))) == []
    assert settings(comment_file("JPEG", text)) == []
    assert settings(with_exif("WEBP", {0x010E: text, 0x0110: text})) == []


@pytest.mark.parametrize(
    "data",
    [
        png(("prompt", json.dumps(COMFY)), ("workflow", json.dumps(WORKFLOW))),
        with_exif("WEBP", {0x0110: f"prompt:{json.dumps(COMFY)}", 0x010F: f"workflow:{json.dumps(WORKFLOW)}"}),
        with_exif("WEBP", {0x010F: f"Prompt: {json.dumps(COMFY)}", 0x010E: f"Workflow: {json.dumps(WORKFLOW)}"}),
        with_exif("AVIF", {}, {COMMENT: json.dumps({"prompt": COMFY, "workflow": WORKFLOW}).encode()}),
    ],
)
def test_comfy_ui_is_read_from_each_of_its_places(data: bytes) -> None:
    found = only(data)
    assert (found.program, found.says, found.model, found.seed) == (
        "ComfyUI", GENERATED, "v1-5.safetensors", "156680208700286"
    )  # fmt: skip
    assert (found.prompt, found.negative) == ("a lake", "people")
    assert evidence(data).detail == "model v1-5.safetensors, seed 156680208700286"


def test_comfy_ui_in_an_animated_png_is_read() -> None:
    data = plain("PNG")
    text = chunk(b"comf", b"prompt\0" + json.dumps(COMFY).encode())
    assert only(data[:-12] + text + data[-12:]).seed == "156680208700286"


def test_comfy_ui_workflow_without_a_sampler_only_edits() -> None:
    nodes = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}
    nodes["2"] = {"class_type": "ImageScale", "inputs": {"image": ["1", 0]}}  # type: ignore[dict-item]
    found = only(png(("prompt", json.dumps(nodes))))
    assert (found.says, found.note) == (EDITED, "nothing sampled")
    drawn = {"nodes": [{"type": "LoadImage"}], "links": []}
    assert only(png(("workflow", json.dumps(drawn)))).says == EDITED
    assert only(png(("workflow", json.dumps(WORKFLOW)))).says == GENERATED


def test_comfy_ui_nodes_that_lead_to_each_other_end() -> None:
    nodes = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0]}},
        "2": {"class_type": "Other", "inputs": {"conditioning": ["2", 0]}},
    }
    assert only(png(("prompt", json.dumps(nodes)))).prompt == ""


@pytest.mark.parametrize(
    ("texts", "program", "model", "seed", "prompt"),
    [
        (
            {
                "invokeai_metadata": json.dumps(
                    {
                        "app_version": "5.4.0",
                        "positive_prompt": "a lake",
                        "negative_prompt": "",
                        "seed": 3,
                        "model": {"name": "Juggernaut", "key": "k"},
                    }
                ),
                "invokeai_graph": "{}",
            },
            "InvokeAI 5.4.0", "Juggernaut", "3", "a lake",
        ),
        (
            {
                "sd-metadata": json.dumps(
                    {
                        "model": "stable diffusion",
                        "model_weights": "sd-1.5",
                        "app_id": "invoke-ai/InvokeAI",
                        "app_version": "2.3.0",
                        "image": {"prompt": [{"prompt": "a lake", "weight": 1.0}], "seed": 77},
                    }
                ),
                "Dream": '"a lake" -s 50 -S 77',
            },
            "InvokeAI 2.3.0", "sd-1.5", "77", "a lake",
        ),
        ({"Dream": '"a "red" lake" -s 50 -S 298 -W 512 -H 512 -C 7.5 -A k_lms'}, "InvokeAI", "", "298", 'a "red" lake'),
        ({"invokeai_graph": '{"nodes": {}}'}, "InvokeAI", "", "", ""),
    ],
)  # fmt: skip
def test_invoke_ai_is_read_in_each_of_its_forms(
    texts: dict[str, str], program: str, model: str, seed: str, prompt: str
) -> None:
    found = only(png(*texts.items()))
    assert (found.program, found.model, found.seed, found.prompt) == (program, model, seed, prompt)


@pytest.mark.parametrize(
    "data",
    [
        png(("parameters", json.dumps(FOOOCUS)), ("fooocus_scheme", "fooocus")),
        png(("Comment", json.dumps(FOOOCUS))),
        with_exif("JPEG", {COMMENT: json.dumps(FOOOCUS), 0x0131: "Fooocus v2.4.3", 0x927C: "fooocus"}),
        with_exif("WEBP", {COMMENT: json.dumps(FOOOCUS | {"version": None}), 0x0131: "Fooocus v2.4.3"}),
    ],
)
def test_fooocus_is_read_from_each_of_its_places(data: bytes) -> None:
    found = only(data)
    assert (found.program, found.model, found.seed) == ("Fooocus v2.4.3", "juggernautXL", "6952411511246973023")


def test_novel_ai_is_read_from_png_and_exif() -> None:
    comment = json.dumps({"prompt": "a lake", "uc": "people", "seed": 2253955223, "steps": 28, "sampler": "k_euler"})
    model = "NovelAI Diffusion V4.5 4BDE2A90"
    texts = {
        "Title": "NovelAI generated image",
        "Description": "a lake",
        "Software": "NovelAI",
        "Source": model,
        "Comment": comment,
    }
    found = only(png(*texts.items()))
    assert (found.program, found.model, found.seed, found.prompt, found.negative) == (
        "NovelAI", model, "2253955223", "a lake", "people"
    )  # fmt: skip
    found = only(with_exif("WEBP", {0x0131: "NovelAI", 0x010E: "a lake"}, {COMMENT: unicode_comment(comment)}))
    assert (found.program, found.seed, found.prompt) == ("NovelAI", "2253955223", "a lake")
    assert settings(png(("Software", "NovelAI clone"), ("Comment", comment))) == []


@pytest.mark.parametrize(
    "data",
    [
        png(("parameters", json.dumps(SWARM))),
        comment_file("JPEG", json.dumps(SWARM)),
        with_exif("WEBP", {0x0110: json.dumps(SWARM)}),
    ],
)
def test_swarm_ui_is_read_from_each_of_its_places(data: bytes) -> None:
    found = only(data)
    assert (found.program, found.model, found.seed) == (
        "SwarmUI 0.9.3.1", "OfficialStableDiffusion/sd_xl_base_1.0", "1395176461"
    )  # fmt: skip
    assert (found.prompt, found.negative) == ("a lake", "people")


def test_draw_things_is_read_from_xmp_and_exif() -> None:
    from xml.sax.saxutils import escape

    body = f"<exif:UserComment><rdf:Alt><rdf:li>{escape(json.dumps(DRAW_THINGS))}</rdf:li></rdf:Alt></exif:UserComment>"
    for data in (
        encoded("PNG", xmp=xmp_packet(body, xmp_CreatorTool="Draw Things")),
        comment_file("JPEG", json.dumps(DRAW_THINGS)),
    ):
        found = only(data)
        assert (found.program, found.model, found.seed) == ("Draw Things", "sd.ckpt", "42")
        assert (found.prompt, found.negative) == ("a lake", "people")


@pytest.mark.parametrize(
    "data",
    [
        png(*((key, str(value)) for key, value in EASY.items())),
        png(("Prompt", "a lake"), ("Negative Prompt", "people"), ("Seed", "42"), ("Stable Diffusion model", "sd-v1-5")),
        comment_file("JPEG", json.dumps(EASY)),
        comment_file("WEBP", json.dumps(EASY)),
    ],
)
def test_easy_diffusion_is_read_from_each_of_its_places(data: bytes) -> None:
    found = only(data)
    assert (found.program, found.model, found.seed) == ("Easy Diffusion", "sd-v1-5", "42")
    assert (found.prompt, found.negative) == ("a lake", "people")


def test_mflux_and_imaginairy_are_read_from_exif() -> None:
    found = only(with_exif("PNG", {}, {COMMENT: b"ASCII\0\0\0" + json.dumps(MFLUX).encode()}))
    assert (found.program, found.model, found.seed) == ("MFLUX 0.17.5", "schnell", "42")
    note = json.dumps({"prompt": {"prompts": [], "seed": 7}})
    found = only(with_exif("JPEG", {0x0131: "Imaginairy / Stable Diffusion SD-1.5", COMMENT: note}))
    assert (found.program, found.model, found.seed) == ("imaginAIry", "SD-1.5", "7")


def test_stable_diffusion_cpp_is_read_from_a_jpeg_comment_and_webp_xmp() -> None:
    from xml.sax.saxutils import escape

    text = f"{PROMPT}\nSteps: 28, CFG scale: 5.0, Seed: 16124, Size: 8x8, Model: m, Version: stable-diffusion.cpp"
    jpeg = with_segments(plain("JPEG"), segment(0xFE, b"parameters\0" + text.encode()))
    webp = encoded("WEBP", xmp=xmp_packet(f"<sdcpp:parameters>{escape(text)}</sdcpp:parameters>"))
    for data in (jpeg, webp):
        found = only(data)
        assert (found.program, found.model, found.seed, found.prompt) == ("stable-diffusion.cpp", "m", "16124", PROMPT)


def test_midjourney_is_read_from_its_description_only_at_the_end() -> None:
    text = f"a lake --ar 2:1 --seed 99 --v 6 Job ID: {JOB}"
    body = f"<dc:description><rdf:Alt><rdf:li>{text}</rdf:li></rdf:Alt></dc:description>"
    for data in (png(("Description", text), ("Author", "someone")), encoded("JPEG", xmp=xmp_packet(body))):
        found = only(data)
        assert (found.program, found.seed, found.note) == ("Midjourney", "99", f"job {JOB}")
        assert found.prompt == "a lake --ar 2:1 --seed 99 --v 6"
    for other in (
        f"Job ID: {JOB} of Midjourney",
        "Midjourney Job ID: 12",
        f"Job ID: {JOB.upper()}",
        "midjourney --v 6",
    ):
        assert settings(png(("Description", other))) == []
    assert settings(png(("Comment", text))) == []


def test_label_of_gb_45438_is_read_from_xmp() -> None:
    def labelled(label: object) -> bytes:
        value = json.dumps({"Label": label, "ContentProducer": "00191110000", "ProduceID": "1"}).replace('"', "&quot;")
        return encoded("JPEG", xmp=xmp_packet(f"<TC260:AIGC>{value}</TC260:AIGC>"))

    assert evidence(labelled("1")) == Evidence("text", GENERATED, "00191110000", "labelled AI-generated by GB 45438")
    assert evidence(labelled("3")).detail == "labelled suspected AI-generated by GB 45438"
    assert settings(labelled("9")) == []
    assert settings(labelled(None)) == []


def test_enlarging_in_the_web_ui_only_edits() -> None:
    found = evidence(png(("postprocessing", "Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN 4x+")))
    assert (found.says, found.detail) == (EDITED, "enlarged or restored")


def test_several_programs_are_all_named_and_the_unnamed_one_is_left_out() -> None:
    data = png(("parameters", WEB_UI_TEXT), ("prompt", json.dumps(COMFY)), ("Software", "GIMP 2.10"))
    assert [(e.says, e.program) for e in read.evidence(data)] == [(GENERATED, "ComfyUI"), (EDITED, "GIMP 2.10")]


def test_settings_of_a_file_with_camera_fields_leave_out_the_camera() -> None:
    data = with_exif("JPEG", {0x010F: "Acme", 0x0110: "X1"}, {0x8827: 100, COMMENT: unicode_comment(WEB_UI_TEXT)})
    assert [item.kind for item in read.evidence(data)] == ["text"]


@pytest.mark.parametrize("seed", [True, 1.5, "x", "1" * 30, None, [], -5])
def test_seeds_are_whole_numbers(seed: object) -> None:
    found = only(png(("parameters", json.dumps({"sui_image_params": {"seed": seed}}))))
    assert found.seed == ("-5" if seed == -5 else "")


def test_long_texts_are_shortened_to_a_printable_line() -> None:
    params = {"model": "m\n\x1b[31m" * 1000, "seed": 1, "swarm_version": "9" * 500 + "\0"}
    found = evidence(png(("parameters", json.dumps({"sui_image_params": params}))))
    assert len(found.program) <= 100
    assert len(found.detail) <= 300
    assert (found.program + found.detail).isprintable()


def test_exif_structures_of_both_byte_orders_give_the_same() -> None:
    for order in ("<", ">"):
        block = exif_of({}, {COMMENT: unicode_comment(WEB_UI_TEXT, order)}, order)
        assert only(encoded("JPEG", exif=block)).seed == "965400086"
