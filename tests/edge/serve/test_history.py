"""The answers of several ledgers as one list, as JSON and CSV, and their thumbnails."""

import csv
import hashlib
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge.errors import LedgerError
from edge.serve import thumbnails
from edge.serve.history import COLUMNS, History, as_json, csv_text, json_text
from edge.serve.thumbnails import Thumbnails
from edge.store import schema
from edge.store.history import Filter, Item
from tests.conftest import age, picture
from tests.support.histories import add, add_event

FILE = schema.FILE


@pytest.fixture
def two(tmp_path: Path) -> History:
    """Two ledgers with three answers each, alternating in time."""
    for number in range(6):
        add(tmp_path / ("one", "two")[number % 2], f"{number}.jpg", ("REAL", "FAKE")[number // 3], at=number)
    return History(lambda: [tmp_path / "one" / FILE, tmp_path / "missing" / FILE, tmp_path / "two" / FILE])


def names(items: list[Item]) -> list[str]:
    return [Path(item.recorded.answer.path).stem for item in items]


def test_ledgers_are_merged_by_time_and_paged_both_ways(two: History) -> None:
    first = two.page(Filter(), limit=2)
    assert (names(first.items), first.newer, first.errors) == (["5", "4"], None, [])
    second = two.page(Filter(), before=first.older, limit=2)
    assert names(second.items) == ["3", "2"]
    last = two.page(Filter(), before=second.older, limit=2)
    assert (names(last.items), last.older) == (["1", "0"], None)
    back = two.page(Filter(), after=last.newer, limit=2)
    assert back.items == second.items
    again = two.page(Filter(), after=back.newer, limit=2)
    assert (again.items, again.newer) == (first.items, None)
    assert two.page(Filter("FAKE"), after=first.items[0].position).items == []


def test_one_answer_is_found_by_its_key_in_its_ledger(two: History) -> None:
    for item in two.page(Filter()).items:
        assert two.one(item.key) == item
    assert two.one("00000000-1") is None
    with pytest.raises(ValueError, match="invalid"):
        two.one("../../etc/passwd")


def test_sources_and_counts_are_of_all_ledgers(two: History, tmp_path: Path) -> None:
    add_event(tmp_path / "two", "porch", at=9)
    folder, camera = two.sources()
    assert (folder.name, folder.is_camera, folder.latest, folder.counts) == ("/in", False, 5.0, {"REAL": 3, "FAKE": 3})
    assert (camera.name, camera.is_camera, camera.counts) == ("porch", True, {"FAKE": 1})
    assert two.counts_since(3) == {"FAKE": 4}


def test_unreadable_ledger_is_named_beside_the_answers_of_others(two: History, tmp_path: Path) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / FILE).write_bytes(b"no database at all" * 100)
    page = two.page(Filter())
    assert len(page.items) == 6
    (error,) = page.errors
    assert str(tmp_path / "missing" / FILE) in error
    for name in ("one", "two"):
        (tmp_path / name / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError):
        two.page(Filter())


def test_without_ledgers_the_history_is_empty(tmp_path: Path) -> None:
    history = History(lambda: [tmp_path / FILE])
    assert history.page(Filter()).items == []
    assert history.sources() == []
    add(tmp_path, "a", at=1)
    assert len(history.page(Filter()).items) == 1, "a new ledger is found at once"


def test_export_has_every_answer_across_pages(two: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.serve.history.EXPORT_ROWS", 2)
    assert names(list(two.export(Filter()))) == ["5", "4", "3", "2", "1", "0"]
    assert names(list(two.export(Filter("REAL")))) == ["2", "1", "0"]


def test_json_is_an_array_of_answers(two: History) -> None:
    found: list[dict[str, Any]] = json.loads(b"".join(json_text(two.export(Filter()))))
    assert [answer["path"] for answer in found] == [f"/in/{number}.jpg" for number in (5, 4, 3, 2, 1, 0)]
    assert two.one(found[0]["id"]) is not None
    assert (found[0]["label"], found[0]["source"]) == ("FAKE", "/in")
    assert found[0]["sha256"] == hashlib.sha256(b"/in/5.jpg").hexdigest()
    assert json.loads(b"".join(json_text([]))) == []


def test_csv_neutralises_formulas_and_control_characters(tmp_path: Path) -> None:
    add_event(tmp_path, '=HYPERLINK("http://evil.example")', at=1)
    add(tmp_path, 'line\nbreak,"quoted"', None, at=3, source="/in\udcff")
    said = '[{"kind":"text","says":"generated","program":"=1+1","detail":null,"verified":null}]'
    add(tmp_path, "a.jpg", at=4, provenance=said)
    history = History(lambda: [tmp_path / FILE])
    text = b"".join(csv_text(history.export(Filter()))).decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text))
    assert tuple(header) == COLUMNS
    generated, files, *events = (dict(zip(header, row, strict=True)) for row in rows)
    assert files["path"] == '/in\\udcff/line\\nbreak,"quoted"'
    assert "=1+1" in generated["provenance"]
    assert files["error"] == "damaged image data"
    assert [event["path"] for event in events] == ['\'=HYPERLINK("http://evil.example")'] * 2
    assert [event["event"] for event in events] == ["ended", "began"]
    assert all(cell[:1] not in ("=", "+", "-", "@") for row in rows for cell in row)


def test_csv_is_streamed(tmp_path: Path) -> None:
    add(tmp_path, "a" * 200, at=1)
    (item,) = History(lambda: [tmp_path / FILE]).page(Filter()).items
    pieces = csv_text(item for _ in range(1000))
    first = next(pieces)
    assert 1000 < len(first) < 20_000
    assert len(b"".join(pieces).splitlines()) > 900


class Shown:
    """A ledger with an answer to a real file, and thumbnails."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inbox, self.cache = folder, folder / "in", folder / "cache"
        self.inbox.mkdir()
        self.thumbnails = Thumbnails(self.cache)

    def item(self, path: Path, label: str | None = "REAL") -> Item:
        add(self.folder, path.name, label, at=1, source=str(path.parent), content=path.read_bytes())
        return self.latest()

    def latest(self) -> Item:
        return max(History(lambda: [self.folder / FILE]).page(Filter()).items, key=lambda item: item.recorded.id)

    def get(self, item: Item) -> Image.Image | None:
        data = self.thumbnails.get(item)
        return None if data is None else Image.open(io.BytesIO(data))


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    made = Shown(tmp_path)
    yield made
    made.thumbnails.close()


def test_thumbnail_shows_the_file_at_240_pixels(shown: Shown) -> None:
    thumbnail = shown.get(shown.item(age(picture(shown.inbox / "a.png", 200, size=(1000, 500)))))
    assert thumbnail is not None
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (240, 120))
    assert abs(thumbnail.convert("L").resize((1, 1)).getpixel((0, 0)) - 200) < 5  # type: ignore[operator]


def test_thumbnail_has_no_metadata_and_is_upright(shown: Shown) -> None:
    path = shown.inbox / "a.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "<img onerror=alert(1)>"
    Image.new("RGB", (400, 200), "red").save(path, exif=exif)
    thumbnail = shown.get(shown.item(age(path)))
    assert thumbnail is not None
    assert thumbnail.size == (120, 240)
    assert "exif" not in thumbnail.info
    assert not thumbnail.getexif()


def test_small_picture_is_not_enlarged(shown: Shown) -> None:
    thumbnail = shown.get(shown.item(age(picture(shown.inbox / "a.png", size=(32, 20)))))
    assert thumbnail is not None
    assert thumbnail.size == (32, 20)


def test_thumbnail_is_kept_after_the_file_is_gone(shown: Shown) -> None:
    item = shown.item(age(picture(shown.inbox / "a.png")))
    first = shown.thumbnails.get(item)
    os.unlink(shown.inbox / "a.png")
    assert first is not None
    assert shown.thumbnails.get(item) == first


def test_missing_file_has_no_thumbnail(shown: Shown) -> None:
    item = shown.item(age(picture(shown.inbox / "a.png")))
    os.unlink(shown.inbox / "a.png")
    assert shown.thumbnails.get(item) is None


def test_other_content_at_the_path_is_never_shown(shown: Shown) -> None:
    item = shown.item(age(picture(shown.inbox / "a.png")))
    secret = age(picture(shown.folder / "secret.png", seed=7))
    os.unlink(shown.inbox / "a.png")
    (shown.inbox / "a.png").symlink_to(secret)
    assert shown.thumbnails.get(item) is None
    os.unlink(shown.inbox / "a.png")
    os.mkfifo(shown.inbox / "a.png")
    assert shown.thumbnails.get(item) is None
    assert list(shown.cache.glob("*.jpg")) == []


def test_error_has_no_thumbnail(shown: Shown) -> None:
    assert shown.thumbnails.get(shown.item(age(picture(shown.inbox / "a.png")), None)) is None


def test_undecodable_file_has_no_thumbnail(shown: Shown) -> None:
    path = shown.inbox / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff no image")
    assert shown.thumbnails.get(shown.item(age(path))) is None


def test_event_shows_its_snapshot_and_no_link_that_leads_out(shown: Shown) -> None:
    snapshot = age(picture(shown.inbox / "snapshot.png", 30))
    add_event(shown.folder, "porch", at=1, snapshot=str(snapshot))
    thumbnail = shown.get(shown.latest())
    assert thumbnail is not None
    assert thumbnail.size == (40, 30)
    add_event(shown.folder, "porch", at=9, snapshot=str(shown.inbox / "link.png"))
    (shown.inbox / "link.png").symlink_to(age(picture(shown.folder / "secret.png", seed=7)))
    assert shown.thumbnails.get(shown.latest()) is None


def test_event_without_snapshot_has_no_thumbnail(shown: Shown) -> None:
    add_event(shown.folder, "porch", at=1)
    assert shown.thumbnails.get(shown.latest()) is None


def test_cache_deletes_oldest_beyond_its_limit(shown: Shown) -> None:
    shown.thumbnails.close()
    items = [
        shown.item(age(picture(shown.inbox / f"{number}.png", size=(240, 240), seed=number))) for number in range(6)
    ]
    with Thumbnails(shown.cache, limit_bytes=40_000) as limited:
        sizes = []
        for number, item in enumerate(items):
            made = limited.get(item)
            assert made is not None
            sizes.append(len(made))
            for path in shown.cache.glob(f"{item.sha256.hex()}*"):
                os.utime(path, (number, number))
    left = sorted(shown.cache.iterdir(), key=lambda path: path.stat().st_mtime)
    assert sum(sizes) > 40_000 >= sum(path.stat().st_size for path in left) > 0
    assert left[-1].name.startswith(items[-1].sha256.hex())
    assert not any(path.name.startswith(items[0].sha256.hex()) for path in left)


def test_cut_off_thumbnail_is_made_again(shown: Shown) -> None:
    item = shown.item(age(picture(shown.inbox / "a.png")))
    whole = shown.thumbnails.get(item)
    assert whole is not None
    (kept,) = shown.cache.glob("*.jpg")
    kept.write_bytes(whole[:100])
    assert shown.thumbnails.get(item) == whole


def test_cache_that_cannot_be_written_leaves_thumbnails(shown: Shown) -> None:
    shown.cache.write_bytes(b"a file in the place of the folder")
    assert shown.thumbnails.get(shown.item(age(picture(shown.inbox / "a.png")))) is not None


def test_decoding_process_ends_when_idle(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "IDLE_SECONDS", 0.2)
    item = shown.item(age(picture(shown.inbox / "a.png")))
    monkeypatch.setattr(shown.thumbnails._end_later.__func__, "__defaults__", (0.2,))  # type: ignore[attr-defined]
    assert shown.thumbnails.get(item) is not None
    deadline = time.monotonic() + 10
    while shown.thumbnails._pool is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_threads_share_thumbnails(shown: Shown) -> None:
    items = [shown.item(age(picture(shown.inbox / f"{number}.png", seed=number))) for number in range(6)]
    made: list[bytes | None] = []
    threads = [threading.Thread(target=lambda item=item: made.append(shown.thumbnails.get(item))) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({data for data in made if data}) == 6


def test_json_of_an_event_has_no_checksum(tmp_path: Path) -> None:
    add_event(tmp_path, "porch", at=1)
    (_, began) = History(lambda: [tmp_path / FILE]).page(Filter()).items
    fields = as_json(began)
    assert "sha256" not in fields
    assert fields["event"]["state"] == "began"
