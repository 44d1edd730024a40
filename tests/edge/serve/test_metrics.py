"""The metrics as Prometheus reads them, over restarts and with hostile names; and the files in docs/ that use them."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edge import __version__
from edge.board import Board
from edge.serve import totals as totals_module
from edge.serve.cameras import Running
from edge.serve.metrics import METRICS, Metrics
from edge.serve.totals import MAX_SOURCES, OTHER, Totals
from edge.store import schema
from tests.conftest import CHECKOUT
from tests.support.histories import add, add_event

FILE = schema.FILE
CAMERA = {
    "folder": "porch",
    "waiting": 0,
    "events": 1,
    "state": "seeing",
    "frames_per_second": 9.5,
    "frame_seconds": 0.25,
}


def parsed(text: str) -> dict[str, float]:
    """The value of each series: name and labels, as in the text."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            series = f"{sample.name}{{{labels}}}"
            assert series not in found, "the same series twice"
            found[series] = sample.value
    return found


def board(root: Path, celsius: float | None = None, throttled: str | None = None) -> Board:
    """A folder that imitates a board."""
    if celsius is not None:
        zone = root / "sys/class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(f"{celsius * 1000:.0f}\n")
    if throttled is not None:
        firmware = root / "sys/devices/platform/soc/soc:firmware"
        firmware.mkdir(parents=True)
        (firmware / "get_throttled").write_text(throttled)
    return Board(root, {"PATH": str(root)})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    for number, label in enumerate(("REAL", "REAL", "FAKE", None)):
        add(folder, f"{number}.jpg", label, at=100 + number)
    add_event(folder, "porch", at=200)
    return folder


def metrics(root: Path, totals: Totals | None = None) -> Metrics:
    return Metrics(totals or Totals(), board(root))


def test_all_metrics_are_parsed_by_prometheus(state: Path, tmp_path: Path) -> None:
    running = [
        Running("0" * 16, "porch", True, CAMERA),
        Running("1" * 16, "/in", False, {"folder": "/in", "waiting": 3}),
        Running("2" * 16, "7-22", True, {}, "does not answer"),
    ]
    text = Metrics(Totals(), board(tmp_path, 61.5, "50005")).text(
        [state / FILE, tmp_path / "missing"], running, is_mqtt_connected=False
    )
    found = parsed(text)
    assert found["edge_detect_answers_total{label=REAL,source=/in}"] == 2
    assert found["edge_detect_answers_total{label=FAKE,source=/in}"] == 1
    assert found["edge_detect_answers_total{label=ERROR,source=/in}"] == 1
    assert found["edge_detect_answers_total{label=FAKE,source=porch}"] == 1, "an event counts once"
    assert found["edge_detect_answer_seconds_count{}"] == 4
    assert found["edge_detect_answer_seconds_sum{}"] == pytest.approx(0.08)
    assert found["edge_detect_answer_seconds_bucket{le=0.01}"] == 0
    assert found["edge_detect_answer_seconds_bucket{le=0.025}"] == 4
    assert found["edge_detect_answer_seconds_bucket{le=+Inf}"] == 4
    assert found["edge_detect_last_answer_timestamp_seconds{source=/in}"] == 103
    assert found["edge_detect_waiting{source=/in}"] == 3
    assert found["edge_detect_camera_up{source=porch}"] == 1
    assert found["edge_detect_camera_fps{source=porch}"] == 9.5
    assert found["edge_detect_camera_frame_age_seconds{source=porch}"] == 0.25
    assert found["edge_detect_celsius{}"] == 61.5
    assert found["edge_detect_throttled{}"] == 1
    assert found["edge_detect_mqtt_connected{}"] == 0
    assert found[f"edge_detect_build_info{{version={__version__}}}"] == 1
    types = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert types == {name.removesuffix("_total"): kind for name, (kind, _) in METRICS.items()}


def test_what_a_board_lacks_is_left_out(state: Path, tmp_path: Path) -> None:
    text = metrics(tmp_path).text([state / FILE], [])
    assert "celsius" not in text
    assert "throttled" not in text
    assert "mqtt" not in text


def test_earlier_throttling_is_not_reported_as_present(tmp_path: Path) -> None:
    assert parsed(Metrics(Totals(), board(tmp_path, throttled="50000")).text([], []))["edge_detect_throttled{}"] == 0


@pytest.mark.parametrize(
    ("status", "up"), [({"state": "seeing"}, 1), ({"state": "resting"}, 1), ({"state": "waiting"}, 0), ({}, 0)]
)
def test_camera_is_up_while_it_sees_or_rests(tmp_path: Path, status: dict[str, Any], up: int) -> None:
    running = [Running("0" * 16, "porch", True, {"folder": "porch", "waiting": 0, **status})]
    assert parsed(metrics(tmp_path).text([], running))["edge_detect_camera_up{source=porch}"] == up


def test_camera_whose_process_ended_is_down(tmp_path: Path) -> None:
    made = metrics(tmp_path)
    made.text([], [Running("0" * 16, "porch", True, CAMERA)])
    found = parsed(made.text([], []))
    assert found["edge_detect_camera_up{source=porch}"] == 0
    assert "edge_detect_camera_fps{source=porch}" not in found


def test_hostile_names_stay_within_their_labels(tmp_path: Path) -> None:
    name = '"} 1\nedge_detect_camera_up{source="x\\'
    text = metrics(tmp_path).text([], [Running("0" * 16, name, True, {**CAMERA, "frames_per_second": "NaN"})])
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "edge_detect_camera_up"]
    (sample,) = family.samples
    assert sample.value == 1
    assert sample.labels["source"] == name.replace("\n", "\\n")


def test_counters_survive_restart_and_deletion(state: Path, tmp_path: Path) -> None:
    kept = tmp_path / "totals.json"
    totals = Totals(kept)
    before = parsed(metrics(tmp_path, totals).text([state / FILE], []))
    totals.close()
    add(state, "later.jpg", "FAKE", at=300)
    with closing(sqlite3.connect(state / FILE)) as database, database:
        database.execute("DELETE FROM answers WHERE id <= 2")
    after = parsed(metrics(tmp_path, Totals(kept)).text([state / FILE], []))
    assert {name: after[name] - before[name] for name in before if before[name] != after[name]} == {
        "edge_detect_answers_total{label=FAKE,source=/in}": 1,
        "edge_detect_answer_seconds_count{}": 1,
        "edge_detect_answer_seconds_sum{}": pytest.approx(0.02),
        **{f"edge_detect_answer_seconds_bucket{{le={bound}}}": 1 for bound in BOUNDS_FROM_25_MS},
        "edge_detect_last_answer_timestamp_seconds{source=/in}": 197,
    }


BOUNDS_FROM_25_MS = ("0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")


def test_killed_server_counts_nothing_twice(state: Path, tmp_path: Path) -> None:
    kept = tmp_path / "totals.json"
    first = Totals(kept)
    first.update(state / FILE)
    first.close()
    add(state, "later.jpg", at=300)
    first.update(state / FILE)  # and is killed before it is saved
    second = Totals(kept)
    second.update(state / FILE)
    assert second.now() == first.now()


def test_damaged_file_of_totals_is_counted_again(state: Path, tmp_path: Path, logged: list[str]) -> None:
    kept = tmp_path / "totals.json"
    for content in ("", "[]", '{"format": 1}', "{" * 100_000):
        kept.write_text(content)
        totals = Totals(kept)
        totals.update(state / FILE)
        assert sum(totals.counts.values()) == 5
    assert len(logged) == 4
    totals.close()
    assert Totals(kept).now() == totals.now()


def test_replaced_ledger_is_counted_from_its_beginning(state: Path, tmp_path: Path) -> None:
    totals = Totals()
    totals.update(state / FILE)
    for path in state.iterdir():
        path.unlink()
    add(state, "new.jpg", "FAKE", at=500)
    totals.update(state / FILE)
    assert totals.counts["/in", "FAKE"] == 2
    assert totals.counts["/in", "REAL"] == 2


def test_many_answers_are_counted_piece_by_piece(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals_module, "IDS_AT_ONCE", 2)
    whole, pieces = Totals(), Totals()
    whole.update(state / FILE)
    assert not pieces.update(state / FILE, at_most=1)
    assert 0 < sum(pieces.counts.values()) < sum(whole.counts.values())
    assert pieces.update(state / FILE)
    assert pieces.now() == whole.now()


def test_sources_beyond_the_limit_are_summed(tmp_path: Path) -> None:
    for number in range(3):
        add(tmp_path, "a.jpg", at=number, source=f"/in{number}")
    totals = Totals()
    totals.latest = dict.fromkeys((f"/former{number}" for number in range(MAX_SOURCES - 1)), 0.0)
    totals.update(tmp_path / FILE)
    assert {source for source, _ in totals.counts} == {"/in0", OTHER}
    assert totals.counts[OTHER, "REAL"] == 2


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bedge_detect_\w+", text))


def known() -> set[str]:
    """The names of all series."""
    names = set()
    for name, (kind, _) in METRICS.items():
        names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def test_dashboard_uses_metrics_that_exist_and_shows_all_but_few() -> None:
    dashboard = json.loads((CHECKOUT / "docs" / "grafana-dashboard.json").read_text())
    used = set()
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            found = names_in(target["expr"])
            assert found, target
            used |= found
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert used <= known()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    unused = set(METRICS) - {name.removesuffix("_bucket") for name in used}
    assert unused == {"edge_detect_mqtt_connected"}


def test_alerts_use_metrics_that_exist() -> None:
    (group,) = yaml.safe_load((CHECKOUT / "docs" / "alerts.yml").read_text())["groups"]
    names = {rule["alert"]: names_in(rule["expr"]) for rule in group["rules"]}
    assert names == {
        "EdgeDetectCameraLost": {"edge_detect_camera_up"},
        "EdgeDetectQueueGrows": {"edge_detect_waiting"},
        "EdgeDetectBoardThrottled": {"edge_detect_throttled"},
    }
    assert set.union(*names.values()) <= known()
    for rule in group["rules"]:
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
