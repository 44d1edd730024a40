"""When an event begins and ends in a sequence of probabilities."""

from hypothesis import given
from hypothesis import strategies as st

from edge.camera.event_detector import EventDetector, Rules, Step

PLAIN = Rules(enter=0.8, leave=0.5, smooth_seconds=0, least_seconds=1, cool_down_seconds=5, gap_seconds=10)


def changes(
    events: EventDetector, probabilities: list[float], *, begin: float = 0.0, every: float = 0.5
) -> list[tuple[float, str]]:
    """Times at which an event began or ended."""
    found = []
    for number, probability in enumerate(probabilities):
        seconds = begin + number * every
        step = events.update(probability, seconds)
        found += [(seconds, "ended")] if step.ended else []
        found += [(seconds, "began")] if step.began else []
    return found


def test_event_begins_after_least_duration_and_ends_at_lower_threshold() -> None:
    events = EventDetector(PLAIN)

    assert changes(events, [0.1, 0.9, 0.7, 0.9, 0.6, 0.51, 0.5, 0.9]) == [(1.5, "began"), (3.0, "ended")]


def test_unsure_frame_begins_no_event_but_continues_one() -> None:
    events = EventDetector(PLAIN)

    assert events.update(0.9, 0.0, is_unsure=True) == events.update(0.9, 5.0, is_unsure=True) == Step()
    assert events.update(0.9, 6.0) == Step()
    assert events.update(0.9, 7.0, is_unsure=True).began is not None
    assert events.current is not None
    assert events.current.began == 6.0


def test_period_shorter_than_least_duration_is_no_event() -> None:
    events = EventDetector(PLAIN)

    assert changes(events, [0.9, 0.9, 0.4, 0.9, 0.9, 0.1]) == []


def test_value_between_thresholds_begins_no_event() -> None:
    assert changes(EventDetector(PLAIN), [0.7] * 20) == []


def test_event_has_time_of_reaching_threshold_and_peak() -> None:
    events = EventDetector(PLAIN)
    changes(events, [0.1, 0.85, 0.9, 0.99, 0.7])

    assert events.current is not None
    assert (events.current.began, events.current.last, events.current.peak) == (0.5, 2.0, 0.99)
    ended = events.end()
    assert ended is not None
    assert ended.seconds == 1.5


def test_only_higher_value_is_new_peak() -> None:
    events = EventDetector(PLAIN)
    changes(events, [0.9, 0.9, 0.9])

    assert events.update(0.9, 1.5) == Step()
    assert events.update(0.95, 2.0).is_peak
    assert not events.update(0.93, 2.5).is_peak


def test_no_event_begins_within_cool_down() -> None:
    events = EventDetector(PLAIN)

    found = changes(events, [0.9, 0.9, 0.9, 0.1, *[0.9] * 14])

    # The first event ends at 1.5 s, the cool-down at 6.5 s, and the second event has its least duration at 7.5 s.
    assert found == [(1.0, "began"), (1.5, "ended"), (7.5, "began")]


def test_gap_without_frames_ends_event_at_its_last_frame() -> None:
    events = EventDetector(PLAIN)
    changes(events, [0.9, 0.9, 0.9])

    step = events.update(0.9, 30.0)

    assert step.ended is not None
    assert step.ended.last == 1.0
    assert step.began is None


def test_smoothing_depends_on_time_not_on_frame_rate() -> None:
    slow, fast = EventDetector(Rules(smooth_seconds=2)), EventDetector(Rules(smooth_seconds=2))
    slow.update(0.0, 0.0)
    fast.update(0.0, 0.0)
    slow.update(1.0, 1.0)
    for tenth in range(1, 11):
        fast.update(1.0, tenth / 10)

    assert slow.smoothed is not None
    assert fast.smoothed is not None
    assert abs(slow.smoothed - fast.smoothed) < 1e-9
    assert abs(slow.smoothed - 0.3935) < 1e-4  # 1 - exp(-1/2)


def test_single_outlier_frame_begins_no_event() -> None:
    events = EventDetector(Rules(smooth_seconds=1, least_seconds=0))

    assert changes(events, [0.1] * 10 + [1.0] + [0.1] * 10, every=0.1) == []


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 20)), max_size=80),
    st.floats(0.5, 1),
    st.floats(0, 0.5),
    st.floats(0, 5),
    st.floats(0, 5),
    st.floats(0, 20),
)
def test_begin_and_end_alternate_for_any_probabilities(
    frames: list[tuple[float, float]], enter: float, leave: float, smooth: float, least: float, cool: float
) -> None:
    events = EventDetector(Rules(enter, leave, smooth, least, cool))
    seconds, is_on, over = 0.0, False, float("-inf")
    for probability, passed in frames:
        seconds += passed
        step = events.update(probability, seconds)
        assert 0 <= (events.smoothed or 0) <= 1
        if step.ended:
            assert is_on
            assert step.ended.peak >= enter
            assert step.ended.seconds >= least
            is_on, over = False, step.ended.last
        if step.began:
            assert not is_on
            assert step.began.began >= over + cool
            is_on = True
        assert (events.current is not None) == is_on
