"""What is read of Content Credentials without checking them: evidence and the whole report."""

import json
import random
import time
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from edge.provenance import c2pa, manifests
from edge.verdict import CAPTURED, EDITED, GENERATED
from tests.support import jumbf_writer as writer
from tests.support.jumbf_writer import actions, manifest, parent, store
from tests.support.mutation import mutated

pytest.importorskip("c2pa", reason="c2pa-python signs the files; there is none for 32-bit systems")

from tests.support.content_credentials import Authority, action, authority, sign


def jpeg() -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "JPEG")
    return file.getvalue()


PICTURE = jpeg()


def signed(*steps: dict[str, Any], **options: Any) -> bytes:
    """A manifest store as c2pa-python writes it."""
    return sign(PICTURE, "image/jpeg", list(steps), **options)[1]


def says(data: bytes) -> str:
    found = c2pa.evidence(data)
    return found[0].says if found else ""


@pytest.mark.parametrize("version", [1, 2])
def test_generated_picture_is_reported_with_program_and_signer(version: int) -> None:
    data = signed(action("created", "trainedAlgorithmicMedia", "GPT-4o"), claim_version=version, generator="ChatGPT")
    (found,) = c2pa.evidence(data)
    assert (found.kind, found.says, found.program, found.verified) == ("c2pa", GENERATED, "ChatGPT 1.2", None)
    assert found.detail == "trainedAlgorithmicMedia, by GPT-4o, names Test Signer as its signer"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([("created", "trainedAlgorithmicMedia")], GENERATED),
        ([("created", "trainedAlgorithmicMedia"), ("converted", "")], GENERATED),
        ([("created", ""), ("edited", "trainedAlgorithmicMedia")], GENERATED),
        ([("created", ""), ("placed", "trainedAlgorithmicMedia")], GENERATED),
        ([("created", "algorithmicMedia")], GENERATED),
        ([("created", "computationalCapture"), ("placed", "trainedAlgorithmicMedia")], EDITED),
        ([("created", "compositeWithTrainedAlgorithmicMedia")], EDITED),
        ([("created", "digitalCapture"), ("edited", "compositeWithTrainedAlgorithmicMedia")], EDITED),
        ([("created", "digitalCapture"), ("cropped", "")], EDITED),
        ([("opened", ""), ("color_adjustments", "")], EDITED),
        ([("created", "humanEdits")], EDITED),
        ([("created", "computationalCapture")], CAPTURED),
        ([("created", "digitalCapture")], CAPTURED),
        ([("created", "digitalCapture"), ("converted", ""), ("published", "")], CAPTURED),
        ([("created", "digitalArt")], ""),
        ([("created", "screenCapture")], ""),
        ([("created", "")], ""),
        ([("opened", ""), ("converted", ""), ("watermarked", ""), ("unknown", "")], ""),
        ([("created", "unheardOf")], ""),
        ([], ""),
    ],
)
def test_source_types_and_actions_decide(steps: list[tuple[str, str]], expected: str) -> None:
    assert says(store(manifest("urn:a", c2pa_actions=actions(*steps)))) == expected


def test_signed_camera_photo_is_captured_not_generated() -> None:
    (found,) = c2pa.evidence(signed(action("created", "computationalCapture"), generator="Pixel Camera"))
    assert (found.says, found.program) == (CAPTURED, "Pixel Camera 1.2")
    assert found.detail.startswith("computationalCapture")


def test_algorithm_without_model_is_named_as_such() -> None:
    (found,) = c2pa.evidence(store(manifest("urn:a", c2pa_actions=actions(("created", "algorithmicMedia")))))
    assert (found.says, found.detail) == (GENERATED, "algorithmicMedia, without a trained model")


def test_edits_of_a_camera_photo_name_the_camera() -> None:
    steps = actions(("created", "digitalCapture"), ("cropped", ""), ("filtered", ""))
    (found,) = c2pa.evidence(store(manifest("urn:a", c2pa_actions=steps)))
    assert (found.says, found.detail) == (EDITED, "from a camera (digitalCapture), cropped, filtered")


GENERATED_FILE, _ = sign(
    PICTURE, "image/jpeg", [action("created", "trainedAlgorithmicMedia", "GPT-4o")], generator="ChatGPT"
)


def test_unchanged_copy_of_generated_picture_is_generated() -> None:
    data = signed(
        action("opened", of=0), action("converted"), ingredients=(("parentOf", "image/jpeg", GENERATED_FILE),)
    )
    (found,) = c2pa.evidence(data)
    assert (found.says, found.program) == (GENERATED, "ChatGPT 1.2")
    assert "made from a generated picture" in found.detail
    assert "edited" not in found.detail


def test_edited_generated_picture_is_generated_and_its_edits_are_named() -> None:
    data = signed(action("opened", of=0), action("cropped"), ingredients=(("parentOf", "image/jpeg", GENERATED_FILE),))
    (found,) = c2pa.evidence(data)
    assert found.says == GENERATED
    assert "made from a generated picture, edited since (cropped)" in found.detail


def test_photo_with_a_generated_component_is_edited() -> None:
    data = signed(
        action("created", "digitalCapture"),
        action("placed", of=0),
        ingredients=(("componentOf", "image/jpeg", GENERATED_FILE),),
        generator="Editor",
    )
    (found,) = c2pa.evidence(data)
    assert (found.says, found.program) == (EDITED, "Editor 1.2")
    assert "from a camera (digitalCapture), contains a generated picture" in found.detail


def test_generated_input_of_a_capture_does_not_count() -> None:
    data = signed(action("created", "digitalCapture"), ingredients=(("inputTo", "image/jpeg", GENERATED_FILE),))
    assert says(data) == CAPTURED


def test_last_manifest_is_active() -> None:
    first = manifest("urn:a", c2pa_actions=actions(("created", "trainedAlgorithmicMedia")))
    last = manifest("urn:b", c2pa_actions=actions(("created", "digitalCapture")))
    assert says(store(first, last)) == CAPTURED
    assert says(store(last, first)) == GENERATED


def test_assertion_that_the_claim_does_not_list_is_ignored() -> None:
    data = store(manifest("urn:a", c2pa_actions=actions(("created", "trainedAlgorithmicMedia"))))
    assert says(data) == GENERATED
    assert says(data.replace(b"c2pa.assertions/c2pa.actions", b"c2pa.assertions/c2pa.octions")) == ""


@pytest.mark.parametrize("label", ["c2pa.actions.v2", "c2pa.actions__3", "c2pa.actions.v3__1"])
def test_versions_and_copies_of_actions_are_read(label: str) -> None:
    assert says(store(manifest("urn:a", **{label: actions(("created", "digitalCapture"))}))) == CAPTURED


def test_agent_by_index_is_named() -> None:
    steps = actions(("created", "trainedAlgorithmicMedia")) | {"softwareAgents": [{"name": "Model", "version": "3"}]}
    steps["actions"][0]["softwareAgentIndex"] = 0
    assert c2pa.evidence(store(manifest("urn:a", c2pa_actions=steps)))[0].detail.endswith(", by Model 3")


def test_report_holds_everything_of_a_manifest() -> None:
    data = signed(
        action("created", "digitalCapture"),
        assertions=(
            {
                "label": "stds.schema-org.CreativeWork",
                "data": {"@type": "CreativeWork", "author": [{"@type": "Person", "name": "A. Author"}]},
                "kind": "Json",
            },
            {"label": "cawg.training-mining", "data": {"entries": {"cawg.ai_training": {"use": "notAllowed"}}}},
        ),
        ingredients=(("componentOf", "image/jpeg", GENERATED_FILE),),
        generator="Camera",
    )
    report = c2pa.report(data)
    assert report["verification"] is None
    active, other = report["manifests"]
    assert report["active"] == active["label"]
    assert (active["generator"], active["title"], active["claim_version"]) == ("Camera 1.2", "picture", 2)
    assert active["actions"][0] == {
        "action": "c2pa.created",
        "source_type": "digitalCapture",
        "program": None,
        "when": None,
        "description": None,
    }
    assert active["ingredients"] == [
        {
            "title": "other picture",
            "format": "image/jpeg",
            "relationship": "componentOf",
            "manifest": other["label"],
        }
    ]
    assert active["authors"] == ["A. Author"]
    assert active["training"] == {"cawg.ai_training": "notAllowed"}
    signature = active["signature"]
    assert (signature["algorithm"], signature["signer"]) == ("ES256", "Test Signer")
    assert signature["issuer"] == "Authority of Test Signer"
    assert signature["valid_from"] < signature["valid_until"]
    assert signature["time"] is None
    assert other["generator"] == "ChatGPT 1.2"
    assert json.loads(json.dumps(report)) == report


def test_damaged_store_gives_no_evidence_and_the_report_says_why() -> None:
    data = signed(action("created", "trainedAlgorithmicMedia"))[:-1]
    assert c2pa.evidence(data) == ()
    assert c2pa.report(data) == {
        "active": None,
        "manifests": [],
        "verification": None,
        "problem": "a box has an invalid length",
    }


def test_damaged_assertion_is_a_problem_and_the_rest_is_read() -> None:
    good = manifest("urn:a", c2pa_actions=actions(("created", "digitalCapture")), c2pa_ingredient=parent("x"))
    at = good.index(b"relationship")
    report = c2pa.report(store(good[: at - 1] + b"\xff" + good[at:]))
    (found,) = report["manifests"]
    assert found["actions"][0]["source_type"] == "digitalCapture"
    assert found["problems"] == ["c2pa.ingredient: a break in the place of an item"] or found["problems"]


def test_compressed_manifest_is_reported_as_unread() -> None:
    report = c2pa.report(store(writer.superbox(b"c2cm", "urn:a", writer.box(b"brob", b"\0"))))
    assert report["manifests"][0]["problems"] == ["it is compressed and was not read"]


def test_names_in_a_manifest_cannot_control_the_terminal_or_fill_the_line() -> None:
    name = "\x1b[31mred\nline\u202e" + "x" * 5_000
    by = authority("Evil\x1b[2J\nOrg" + "y" * 20)
    data = signed(action("created", "trainedAlgorithmicMedia", name), generator=name, by=by)
    (found,) = c2pa.evidence(data)
    assert found.program.isprintable()
    assert found.detail.isprintable()
    assert len(found.detail) <= 300
    assert len(found.program) <= 100
    assert "\\x1b[31mred line\\u202e" in found.program
    assert json.dumps(c2pa.report(data), ensure_ascii=False).isprintable()


def test_references_in_a_circle_end() -> None:
    one = manifest("urn:a", c2pa_actions=actions(("opened", "")), c2pa_ingredient=parent("urn:b"))
    two = manifest("urn:b", c2pa_actions=actions(("opened", "")), c2pa_ingredient=parent("urn:a"))
    own = manifest("urn:c", c2pa_actions=actions(("cropped", "")), c2pa_ingredient=parent("urn:c"))
    assert says(store(one, two)) == ""
    assert says(store(own)) == EDITED


def layer(number: int, count: int) -> list[bytes]:
    """Two manifests, each made from both of the next layer."""
    last = number + 1 == count
    steps = actions(("created", "trainedAlgorithmicMedia") if last else ("opened", ""))
    below = {
        f"c2pa.ingredient__{index}": parent(f"urn:{number + 1}{side}") for index, side in enumerate("ab") if not last
    }
    return [manifest(f"urn:{number}{side}", **({"c2pa.actions": steps} | below)) for side in "ba"]


def test_many_paths_to_the_same_ingredient_take_no_more_time() -> None:
    count = manifests.MAX_MANIFESTS // 2
    data = store(*(one for number in reversed(range(count)) for one in layer(number, count)))
    began = time.process_time()
    assert says(data) == GENERATED
    assert time.process_time() - began < 2  # 2 ** 50 paths


def test_too_many_manifests_are_refused() -> None:
    one = [manifest(f"urn:{number}") for number in range(manifests.MAX_MANIFESTS + 1)]
    assert c2pa.report(store(*one[1:]))["problem"] is None
    assert "limit" in c2pa.report(store(*one))["problem"]


def test_manifests_of_the_same_label_are_refused() -> None:
    assert "same label" in c2pa.report(store(manifest("urn:a"), manifest("urn:a")))["problem"]


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", b"x", [], [1, "x", [{}]], {}, {"actions": {}}, {1: {2: 3}}])
def test_values_of_unexpected_types_are_tolerated(value: Any) -> None:
    names = ("c2pa.actions", "c2pa.ingredient", "stds.schema-org.CreativeWork", "c2pa.training-mining")
    keys = ("actions", "softwareAgents", "activeManifest", "author", "entries", "relationship", "dc:title")
    for content in (value, dict.fromkeys(keys, value), {"actions": [{"action": value, "digitalSourceType": value}]}):
        data = store(manifest("urn:a", **dict.fromkeys(names, content)))
        assert c2pa.evidence(data) == ()
        assert c2pa.report(data)["problem"] is None


@pytest.mark.parametrize(
    "content", [b"[" * 50_000, b"{" * 10, b"1" * 6_000, b'{"author": [' + b"[" * 40_000, b"\xff\xfe", b"", b"null"]
)
def test_hostile_json_is_tolerated(content: bytes) -> None:
    label = "stds.schema-org.CreativeWork"
    work = writer.superbox(b"json", label, writer.box(b"json", content))
    claim = {"assertions": [{"url": f"self#jumbf=c2pa.assertions/{label}"}]}
    data = store(
        writer.superbox(
            b"c2ma",
            "urn:a",
            writer.superbox(b"c2as", "c2pa.assertions", work),
            writer.superbox(b"c2cl", "c2pa.claim", writer.box(b"cbor", writer.cbor(claim))),
        )
    )
    assert c2pa.report(data)["manifests"][0]["authors"] == []


def test_huge_number_of_items_ends_early() -> None:
    steps = {"actions": [[0] * 900_000]}
    data = store(manifest("urn:a", c2pa_actions=steps))
    began = time.process_time()
    assert c2pa.evidence(data) == ()
    assert time.process_time() - began < 2
    assert "too many items" in c2pa.report(data)["manifests"][0]["problems"][0]


def test_thousands_of_mutated_stores_raise_nothing() -> None:
    chance = random.Random(16)
    by: Authority = authority("Fuzz")
    edited = signed(
        action("opened", of=0), action("cropped"), ingredients=(("parentOf", "image/jpeg", GENERATED_FILE),), by=by
    )
    seeds = [edited, signed(action("created", "trainedAlgorithmicMedia"), claim_version=1)]
    seeds.append(store(*layer(0, 1)))
    read = 0
    for number in range(4_000):
        data = mutated(seeds[number % len(seeds)], chance)
        read += c2pa.report(data)["problem"] is None
        for found in c2pa.evidence(data):
            assert found.detail.isprintable()
            assert found.verified is None
    assert read > 500, "too few mutations got past the boxes"


def test_every_cut_of_a_store_is_refused_or_read() -> None:
    data = signed(action("created", "trainedAlgorithmicMedia"))
    assert [c2pa.evidence(data[:length]) for length in range(0, len(data), 3)] == [()] * -(-len(data) // 3)
