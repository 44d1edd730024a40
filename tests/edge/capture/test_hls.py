"""Live HLS: frames at the pace of the stream, with right ages, although segments arrive at once."""

import itertools
import threading
import time
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.capture import hls
from edge.capture.capture import Capture, is_held
from edge.capture.hls import BurstDetector, LivePlaylist, StreamClock
from edge.capture.libav import LibavCamera, StreamSettings
from edge.capture.open_camera import open_camera
from edge.errors import CameraError
from tests.support.http_cameras import OK, Request, http_camera
from tests.support.live_hls import FRAMES_A_SECOND, live_hls, number_of

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
SEGMENTS = "".join(f"#EXTINF:{duration},\n{number}.ts\n" for number, duration in enumerate((6, 6, 5.5, 4.5)))


def answer(**headers: str) -> Any:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return SimpleNamespace(headers=message)


@pytest.mark.parametrize(("name", "has_dates", "error"), [("live", True, 1.2), ("master", False, 1.2)])
def test_live_frames_come_evenly_none_is_lost_and_ages_are_right(
    tmp_path: Path, name: str, has_dates: bool, error: float
) -> None:
    with live_hls(tmp_path, 2, 9, has_dates=has_dates, elapsed=9.0) as server:
        camera = open_camera(f"{server.address}/{name}.m3u8")
        numbers: list[int] = []
        seconds, at = [], []
        while len(numbers) < 7 * FRAMES_A_SECOND:
            frame = camera.frame()
            assert frame is not None
            numbers.append(number_of(frame.pixels, numbers[-1] if numbers else -1))
            seconds.append(frame.seconds)
            at.append(time.monotonic())
        camera.close()
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] == 2 * 2 * FRAMES_A_SECOND, "it did not begin with the segment before the last"
    assert at[-1] - at[0] == pytest.approx(7.0, rel=0.15)
    assert sorted(later - earlier for earlier, later in itertools.pairwise(at))[-3] < 0.5
    errors = [taken - (server.begin + number / FRAMES_A_SECOND) for taken, number in zip(seconds, numbers, strict=True)]
    assert max(map(abs, errors)) <= error
    assert seconds == sorted(seconds)


def test_all_frames_of_a_live_stream_reach_the_reader_of_the_newest(tmp_path: Path) -> None:
    with (
        live_hls(tmp_path, 1, 9, elapsed=4.0) as server,
        Capture(lambda: open_camera(f"{server.address}/live.m3u8")) as capture,
    ):
        taken = 0
        while taken < 3 * FRAMES_A_SECOND:
            taken += capture.latest(5) is not None
        assert capture.skipped <= 3


def test_stream_goes_on_without_loss_after_a_stall(tmp_path: Path) -> None:
    with live_hls(tmp_path, 1, 14, elapsed=4.0) as server:
        camera = open_camera(f"{server.address}/live.m3u8")
        numbers: list[int] = []
        ages = []
        timers = [threading.Timer(1.0, server.is_stalled.set), threading.Timer(2.5, server.is_stalled.clear)]
        for timer in timers:
            timer.start()
        end = time.monotonic() + 7
        while time.monotonic() < end:
            frame = camera.frame()
            assert frame is not None
            numbers.append(number_of(frame.pixels, numbers[-1] if numbers else -1))
            ages.append(time.monotonic() - frame.seconds)
        camera.close()
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert max(ages) < 8


def test_stalled_live_stream_raises_after_three_segments(tmp_path: Path) -> None:
    with live_hls(tmp_path, 1, 5, elapsed=5.0) as server:  # no segment comes any more
        camera = LibavCamera(
            f"{server.address}/live.m3u8",
            timeout_seconds=1,
            stream=StreamSettings(connect_seconds=5),
            playlist=LivePlaylist(1.0, 2.0, time.monotonic()),
        )
        with pytest.raises(CameraError, match=r"/live.m3u8: no answer for 3 s$"):
            list(iter(camera.frame, None))
        camera.close()


def test_wait_for_a_frame_ends_when_the_capture_is_closed(tmp_path: Path) -> None:
    with live_hls(tmp_path, 1, 5, elapsed=4.0) as server:
        capture = Capture(
            lambda: LibavCamera(f"{server.address}/live.m3u8", playlist=LivePlaylist(60.0, 0.0, time.monotonic()))
        )
        while capture.seconds_in_call < 0.5:
            time.sleep(0.01)
        began = time.monotonic()
        capture.close()
        assert time.monotonic() - began < 1
        assert not is_held()


def test_recording_by_hls_is_not_slowed_down(tmp_path: Path) -> None:
    with live_hls(tmp_path, 2, 4, elapsed=100.0) as server:
        server.has_ended = True
        camera = open_camera(f"{server.address}/live.m3u8")
        began = time.monotonic()
        for _ in range(60):
            assert camera.frame() is not None
        assert time.monotonic() - began < 3
        camera.close()


MASTER = "".join(
    f"#EXT-X-STREAM-INF:{attributes}\r\n\r\n# a remark\r\n{name}.m3u8?x=1\r\n"
    for name, attributes in (
        ("low", 'BANDWIDTH=300000,CODECS="avc1.4d401e,mp4a.40.2",RESOLUTION=640x360'),
        ("mid", "AVERAGE-BANDWIDTH=9,BANDWIDTH=900000,RESOLUTION=1280x720"),
        ("high", "RESOLUTION=1920x1080,BANDWIDTH=2000000"),
        ("high2", "RESOLUTION=1920x1080,BANDWIDTH=1900000"),
        ("sound", 'BANDWIDTH=99000000,CODECS="mp4a.40.2, ac-3"'),
    )
)


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (None, "high"),
        ((640, 360), "low"),
        ((641, 100), "mid"),
        ((1280, 720), "mid"),
        ((1300, 720), "high"),
        ((4000, 3000), "high"),
    ],
)
def test_stream_of_the_size_is_chosen_otherwise_the_largest(size: tuple[int, int] | None, name: str) -> None:
    text = f"#EXTM3U\r\n{MASTER}"
    assert hls.variant(text, "http://cam/a/master.m3u8", size) == f"http://cam/a/{name}.m3u8?x=1"


def test_streams_without_resolution_are_chosen_by_bandwidth() -> None:
    text = (
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhigh\n#EXT-X-STREAM-INF:A=2\nno\n"
    )
    assert hls.variant(text, "http://cam/a/b") == "http://cam/a/high"
    assert hls.variant(text, "http://cam/a/b", (640, 480)) == "http://cam/a/high"


def test_what_is_no_master_playlist_or_names_no_address_of_http_has_no_variant() -> None:
    assert hls.variant(HEAD + SEGMENTS, "http://cam/a/master.m3u8") is None
    for target in ("file:///etc/passwd", "ftp://cam/x", "http://[/x"):
        assert hls.variant(f"#EXTM3U\n#EXT-X-STREAM-INF:A=1\n{target}\n", "http://cam/") is None


@pytest.mark.parametrize("text", ["\n" * 500_000, "A" * 500_000, "A=" * 250_000, '="' * 250_000, "A-1,\n" * 100_000])
def test_hostile_master_playlist_is_read_in_time(text: str) -> None:
    began = time.monotonic()
    hls.variant(f"#EXTM3U\n#EXT-X-STREAM-INF:{text}", "http://cam/")
    assert time.monotonic() - began < 5


def test_one_stream_of_several_is_downloaded(tmp_path: Path) -> None:
    with live_hls(tmp_path, 1, 9, elapsed=5.0) as server:
        camera = open_camera(f"{server.address}/several.m3u8", size=(64, 48))
        for _ in range(15):
            assert camera.frame() is not None
        camera.close()
        assert camera.name == f"{server.address}/several.m3u8"
        paths = {path.rpartition("/")[0] for path in server.requested if path != "/several.m3u8"}
        assert paths == {"/low"}
        server.requested.clear()
        open_camera(f"{server.address}/several.m3u8").close()
        assert {path.rpartition("/")[0] for path in server.requested if path != "/several.m3u8"} == {"/high"}


@pytest.mark.parametrize(
    ("headers", "newest"),
    [
        ({}, 3.0),
        ({"Date": "Fri, 27 Nov 2026 10:00:05 GMT"}, 3.0),
        ({"Date": "Fri, 27 Nov 2026 10:00:05 GMT", "Last_Modified": "Fri, 27 Nov 2026 10:00:03 GMT"}, 2.0),
        ({"Date": "Fri, 27 Nov 2026 10:00:05 GMT", "Last_Modified": "Fri, 27 Nov 2026 10:00:09 GMT"}, 0.0),
        ({"Date": "Fri, 27 Nov 2026 10:00:05 GMT", "Last_Modified": "Fri, 27 Nov 2020 10:00:09 GMT"}, 6.0),
        ({"Date": "Fri, 27 Nov 2026 10:00:05 GMT", "Last_Modified": "Fri, 27 Nov 2026 10:00:03"}, 3.0),
        ({"Date": "x", "Last_Modified": "-1"}, 3.0),
    ],
)
def test_age_of_a_live_playlist_is_by_the_clock_of_the_server(headers: dict[str, str], newest: float) -> None:
    assert hls.live(HEAD + SEGMENTS, answer(**headers), 50.0) == LivePlaylist(6.0, 5.5 + 4.5 + newest, 50.0)


def test_strange_playlists_give_usable_numbers() -> None:
    assert hls.live(HEAD + SEGMENTS + "#EXT-X-ENDLIST\n", answer(), 0.0) is None
    assert hls.live("#EXTM3U\n", answer(), 0.0) == LivePlaylist(6.0, 3.0, 0.0)
    huge = hls.live(f"#EXTM3U\n#EXT-X-TARGETDURATION:{'9' * 400}\n#EXTINF:{'9' * 400},\na\n", answer(), 0.0)
    assert huge is not None
    assert huge.segment_seconds == 60
    assert 0 < huge.begin_seconds < 200


class Simulation:
    """A stream of a frame each 0.1 s, whose clock is asked when each frame can be read."""

    def __init__(self, segment: float = 2.0) -> None:
        self.clock = StreamClock(LivePlaylist(segment, 2.5 * segment, 100.0))
        self.now = 100.0

    def frame(self, position: float, readable_at: float = 0.0, blocked: float = 0.0) -> tuple[float, float]:
        """The time of a frame and its age at release."""
        self.now = max(self.now, readable_at)
        taken, release = self.clock.schedule(position, self.now, blocked)
        assert release >= self.now
        self.now = release
        return taken, release - taken

    def play(self, first: float, count: int) -> list[tuple[float, float]]:
        return [self.frame(first + number / 10) for number in range(count)]


def test_age_shrinks_slowly_to_its_target() -> None:
    stream = Simulation()
    frames = stream.play(50.0, 1000)
    assert frames[0] == (95.0, 5.0)
    assert frames[-1] == pytest.approx((194.9, 4.0))
    ages = [age for _, age in frames]
    assert max(earlier - later for earlier, later in itertools.pairwise(ages)) < 0.006


def test_short_stall_delays_frames_evenly_and_is_caught_up_slowly() -> None:
    stream = Simulation()
    stream.play(0.0, 300)
    stalled = stream.now + 5.0
    times = []
    for number in range(300, 1800):
        taken, _ = stream.frame(number / 10, readable_at=stalled)
        assert taken == pytest.approx(95.0 + number / 10)
        times.append(stream.now)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.09
    assert stream.frame(180.0)[1] == pytest.approx(4.0)


def test_long_stall_is_caught_up_at_once() -> None:
    stream = Simulation()
    stream.play(0.0, 300)
    resumed = stream.now + 60.0
    released = [(stream.frame(number / 10, readable_at=resumed), stream.now) for number in range(300, 1000)]
    assert sum(now == resumed for _, now in released) > 500
    assert released[-1][0] == (pytest.approx(95.0 + 99.9), pytest.approx(4.0))


def test_jump_over_lost_segments_is_not_waited_for() -> None:
    stream = Simulation()
    stream.play(0.0, 100)
    resumed = stream.now + 9.0
    taken, age = stream.frame(18.0, readable_at=resumed)
    assert taken == pytest.approx(113.0)
    assert stream.now == resumed
    assert age == pytest.approx(resumed - 113.0)


@pytest.mark.parametrize("position", [0.0, 1e6])
def test_stream_that_begins_again_keeps_its_age(position: float) -> None:
    stream = Simulation()
    stream.play(500.0, 100)
    before = stream.now
    taken, age = stream.frame(position)
    assert (taken, age) == (pytest.approx(before - 4.5, abs=0.1), pytest.approx(4.5, abs=0.1))
    assert stream.frame(position + 0.1)[0] == pytest.approx(taken + 0.1)


def test_clock_of_a_stream_that_paused_is_set_again() -> None:
    stream = Simulation()
    stream.play(0.0, 100)
    stream.now += 600.0  # without a gap in its positions
    for number in range(100, 130):
        stream.frame(number / 10)
    stream.now += 1.8
    taken, age = stream.frame(13.0, blocked=1.8)  # the newest segment: there was nothing else to read
    assert age == pytest.approx(4.0)
    assert taken == pytest.approx(stream.now - 4.0)
    assert stream.frame(13.1)[1] == pytest.approx(4.0)


def bursts(detector: BurstDetector, waits: list[float], frames: int, apart: float = 0.01) -> list[LivePlaylist | None]:
    """What a detector finds in bursts of so many frames, with a wait before each."""
    now, found = 1000.0, []
    for wait in waits:
        now += wait
        found.append(detector.update(now, wait))
        for _ in range(frames - 1):
            now += apart
            found.append(detector.update(now, apart))
    return found


def test_fourth_burst_in_succession_shows_the_length_of_a_segment() -> None:
    found = bursts(BurstDetector(), [2.0, 1.9, 2.1, 2.0], 20)
    assert found[:60] == [None] * 60
    assert found[60] == LivePlaylist(2.1, 2.1, pytest.approx(1008.57))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("waits", "frames", "apart"),
    [
        ([1.0] * 20, 1, 0.0),  # one frame a second
        ([2.0] * 10, 100, 0.1),  # a network that stalls now and then
        ([0.4] * 20, 4, 0.01),
        ([100.0] * 5, 100, 0.01),
    ],
)
def test_slow_streams_and_stalls_are_not_bursts(waits: list[float], frames: int, apart: float) -> None:
    assert set(bursts(BurstDetector(), waits, frames, apart)) == {None}


def test_stream_that_comes_in_bursts_without_a_playlist_is_released_evenly(tmp_path: Path) -> None:
    with live_hls(tmp_path, 1, 11, elapsed=0.0) as segments:
        content = segments.segments

    def answer(request: Request) -> None:
        request.send(OK + b"Content-Type: video/mp2t\r\n\r\n")
        for segment in content:
            request.send(segment)
            request.wait(1.0)

    numbers: list[int] = []
    with http_camera(answer) as server, Capture(lambda: open_camera(server.address("/live.ts"))) as capture:
        while not numbers or numbers[-1] < 9 * FRAMES_A_SECOND:
            frame = capture.latest(5)
            assert frame is not None
            numbers.append(number_of(frame.pixels, numbers[-1] if numbers else -1))
    late = [number for number in numbers if number >= 6 * FRAMES_A_SECOND]
    assert late == list(range(late[0], late[0] + len(late)))
    assert len(numbers) < 9 * FRAMES_A_SECOND - 10, "it did not come in bursts"
