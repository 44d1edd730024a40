"""Decoding processes: an image that kills or blocks one of them harms nothing else."""

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from PIL import Image

from edge.errors import ModelError
from edge.files import FileId
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.inference.model import Domain, Views, ViewSet
from edge.inference.router import Router, router
from edge.verdict import Verdict
from edge.watch.decode import FileChanged, Outcome, Prepared, Task, Unread, WorkerDied, decoded, provenance, read
from edge.watch.decode_pool import MAX_DEPTH, MIN_DEPTH, DecodePool
from edge.watch.decode_worker import DecodeLimits
from edge.watch.inside import read_inside
from tests.conftest import picture

SIZE = (16, 12)
INPUTS = (Input(0, SIZE),)


def task(path: Path) -> Task:
    return Task(str(path), FileId.of(path.stat()), time.time_ns())


def outcomes(workers: DecodePool, count: int) -> list[tuple[Task, object]]:
    found: list[tuple[Task, object]] = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count}"
        found += workers.outcomes(1)
    return found


def prepare(root: str, one: Task, inputs: Sequence[Input]) -> Outcome:
    """What a decoding process does with a file, in this process."""
    content = read(root, one)
    return decoded(one, content, inputs, provenance(one, content))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[DecodePool]:
    with DecodePool(2, str(tmp_path), INPUTS) as started:
        yield started


def test_each_task_has_the_same_outcome_as_without_processes(tmp_path: Path, workers: DecodePool) -> None:
    tasks = [task(picture(tmp_path / f"{number}.png", seed=number)) for number in range(3 * MAX_DEPTH)]
    (tmp_path / "bad.png").write_text("no image")
    tasks.append(task(tmp_path / "bad.png"))
    left, found = list(tasks), []
    while left or workers.in_flight:
        while left and workers.has_room:
            workers.submit(left.pop())
        assert workers.in_flight <= 2 * MAX_DEPTH
        found += workers.outcomes(1)
    assert sorted(done.path for done, _ in found) == sorted(one.path for one in tasks)
    for done, outcome in found:
        alone = prepare(str(tmp_path), done, INPUTS)
        assert isinstance(outcome, Prepared)
        assert isinstance(alone, Prepared)
        assert (outcome.sha256, outcome.size, outcome.reason) == (alone.sha256, alone.size, alone.reason)
        if outcome.pixels is None:
            assert done.path.endswith("bad.png")
        else:
            assert (outcome.pixels == preprocess.pixels(done.path, SIZE)).all()


def test_image_over_time_limit_is_answered_and_others_are_decoded(tmp_path: Path) -> None:
    Image.effect_noise((4000, 3000), 90).convert("RGB").save(tmp_path / "slow.png", compress_level=1)
    with DecodePool(1, str(tmp_path), INPUTS, DecodeLimits(seconds=0.05)) as workers:
        slow, quick = task(tmp_path / "slow.png"), task(picture(tmp_path / "quick.png", size=(4, 4)))
        workers.submit(quick)  # the first image also loads the decoders
        outcomes(workers, 1)
        workers.submit(slow)
        workers.submit(quick)
        found = dict(outcomes(workers, 2))
    assert isinstance(found[slow], Prepared)
    assert found[slow].pixels is None
    assert found[slow].reason == "took more than 0.05 s to decode"
    assert len(found[slow].sha256) == 32
    assert found[quick].pixels is not None


def test_dead_process_is_replaced_and_its_task_retried(tmp_path: Path, workers: DecodePool) -> None:
    tasks = [task(picture(tmp_path / f"{number}.png", seed=number)) for number in range(2 * MAX_DEPTH)]
    for worker in workers._workers:
        os.kill(worker.process.pid or 0, signal.SIGSTOP)
    for one in tasks:
        workers.submit(one)
    for worker in workers._workers:
        os.kill(worker.process.pid or 0, signal.SIGKILL)
    found = outcomes(workers, len(tasks))
    assert all(isinstance(outcome, Prepared) and outcome.pixels is not None for _, outcome in found)


def of_two_deaths(folder: Path, number: signal.Signals) -> object:
    """The outcome of a task at which two processes were killed by a signal."""
    with DecodePool(1, str(folder), INPUTS) as workers:
        one = task(picture(folder / "a.png"))
        for _ in range(2):
            os.kill(workers._workers[0].process.pid or 0, signal.SIGSTOP)
            if not workers.in_flight:
                workers.submit(one)
            os.kill(workers._workers[0].process.pid or 0, number)
            os.kill(workers._workers[0].process.pid or 0, signal.SIGCONT)
            found = workers.outcomes(10)
    ((_, outcome),) = found
    return outcome


def test_task_at_which_two_processes_crashed_is_answered_with_the_crash(tmp_path: Path) -> None:
    outcome = of_two_deaths(tmp_path, signal.SIGSEGV)
    assert isinstance(outcome, Prepared)
    assert outcome.reason == "its decoder crashed (SIGSEGV)"


def test_task_whose_processes_were_killed_from_outside_gets_no_answer(tmp_path: Path) -> None:
    outcome = of_two_deaths(tmp_path, signal.SIGKILL)
    assert isinstance(outcome, WorkerDied)
    assert "Killed" in outcome.reason


def test_only_the_slow_task_of_a_message_exceeds_the_time_limit(tmp_path: Path) -> None:
    Image.effect_noise((4000, 3000), 90).convert("RGB").save(tmp_path / "slow.png", compress_level=1)
    quick = [task(picture(tmp_path / f"{number}.png", size=(4, 4), seed=number)) for number in range(7)]
    slow = task(tmp_path / "slow.png")
    with DecodePool(1, str(tmp_path), INPUTS, DecodeLimits(seconds=0.05)) as workers:
        workers.submit(quick[0])  # the first image also loads the decoders
        outcomes(workers, 1)
        for one in (*quick[1:4], slow, *quick[4:]):
            workers.submit(one)
        found = dict(outcomes(workers, 7))
    assert [one.path for one, outcome in found.items() if getattr(outcome, "pixels", None) is None] == [slow.path]
    assert len(found) == 7


def test_file_whose_read_hangs_is_given_up_and_others_are_retried(tmp_path: Path) -> None:
    """A stopped process stands for one whose read never returns."""
    tasks = [task(picture(tmp_path / f"{number}.png", seed=number)) for number in range(3)]
    with DecodePool(1, str(tmp_path), INPUTS, DecodeLimits(seconds=0.1, least_waiting_seconds=1.0)) as workers:
        os.kill(workers._workers[0].process.pid or 0, signal.SIGSTOP)
        for one in tasks:
            workers.submit(one)
        found = dict(outcomes(workers, 3))
        assert found[tasks[0]] == WorkerDied("could not be read within 1 s")
        assert found[tasks[1]] == found[tasks[2]] == FileChanged()
        workers.submit(tasks[1])
        ((_, outcome),) = outcomes(workers, 1)
    assert isinstance(outcome, Prepared)


def test_only_regular_files_inside_the_folder_are_read(tmp_path: Path) -> None:
    root = tmp_path / "inbox"
    root.mkdir()
    outside = picture(tmp_path / "secret.png")
    (root / "link.png").symlink_to(outside)
    os.mkfifo(root / "fifo.png")
    picture(root / "real.png")
    (root / "inner.png").symlink_to("real.png")
    for name, reason in (("link.png", "a link that leads out of the folder"), ("fifo.png", "not a regular file")):
        outcome = prepare(str(root), task(root / name), INPUTS)
        assert isinstance(outcome, Unread)
        assert reason in outcome.reason
    assert isinstance(prepare(str(root), task(root / "inner.png"), INPUTS), Prepared)


def test_changed_file_is_not_read(tmp_path: Path) -> None:
    chosen = task(picture(tmp_path / "a.png"))
    picture(tmp_path / "a.png", seed=5, size=(50, 50))
    assert isinstance(prepare(str(tmp_path), chosen, INPUTS), FileChanged)
    assert read_inside(str(tmp_path), chosen.path, chosen.stamp) is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_idle_process_gives_memory_back(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{number}.png", size=(4000, 2000), seed=number) for number in range(2)]

    def resident() -> int:
        return psutil.Process(workers._workers[0].process.pid).memory_info().rss

    with DecodePool(1, str(tmp_path), INPUTS) as workers:
        workers.submit(task(picture(tmp_path / "small.png")))
        outcomes(workers, 1)
        before = resident()
        for path in paths:
            workers.submit(task(path))
        outcomes(workers, len(paths))
        assert resident() > before + 30_000_000
        deadline = time.monotonic() + 30
        while resident() > before + 10_000_000:
            assert time.monotonic() < deadline, f"{resident() - before} bytes are kept"
            time.sleep(0.1)


def test_processes_end_when_the_daemon_is_killed(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.conftest import environment

    program = (
        "import sys, time\nfrom edge.imaging.inputs import Input\nfrom edge.watch.decode_pool import DecodePool\n"
        "if __name__ == '__main__':\n"
        "    workers = DecodePool(2, sys.argv[1], [Input(0, (16, 12))])\n"
        "    print(*[w.process.pid for w in workers._workers], flush=True)\n    time.sleep(60)\n"
    )
    script = tmp_path / "hold.py"
    script.write_text(program)
    process = subprocess.Popen([sys.executable, script, tmp_path], env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "they still run"
        time.sleep(0.05)
    process.stdout.close()


def test_all_tasks_are_decoded_after_a_crash_amid_a_message(tmp_path: Path) -> None:
    tasks = [task(picture(tmp_path / f"{number}.png", seed=number)) for number in range(8)]
    big = Image.effect_noise((3000, 3000), 90).convert("RGB")
    big.save(tmp_path / "5.png", compress_level=0)
    tasks[5] = task(tmp_path / "5.png")
    with DecodePool(1, str(tmp_path), INPUTS) as workers:
        for one in tasks:
            workers.submit(one)
        workers.send()
        found = dict(outcomes(workers, 5))  # those before the large file do not wait for it
        os.kill(workers._workers[0].process.pid or 0, signal.SIGSEGV)
        found |= dict(outcomes(workers, 8 - len(found)))
    assert set(found) == set(tasks)
    assert all(isinstance(outcome, Prepared) and outcome.pixels is not None for outcome in found.values())


def test_few_large_or_many_small_files_wait_at_a_process(tmp_path: Path) -> None:
    Image.effect_noise((1000, 1000), 90).convert("RGB").save(tmp_path / "large.png", compress_level=0)
    picture(tmp_path / "small.png")
    counts = {}
    for name in ("large", "small"):
        with DecodePool(1, str(tmp_path), INPUTS) as workers:
            os.kill(workers._workers[0].process.pid or 0, signal.SIGSTOP)
            while workers.has_room:
                workers.submit(task(tmp_path / f"{name}.png"))
            counts[name] = workers.in_flight
    assert counts == {"large": MIN_DEPTH, "small": MAX_DEPTH}


def verdicts_of(paths: list[Path], folder: Path, make_router: Callable[[], Router]) -> list[Verdict]:
    """By two processes with a router each, in the order of the paths."""
    with DecodePool(2, str(folder), make_router().inputs, None, make_router) as workers:
        tasks = [task(path) for path in paths]
        for one in tasks:
            workers.submit(one)
        found = dict(outcomes(workers, len(tasks)))
    prepared = [found[one] for one in tasks]
    assert all(isinstance(one, Prepared) and one.pixels is None and one.verdict for one in prepared)
    return [one.verdict for one in prepared if isinstance(one, Prepared) and one.verdict]


def test_processes_with_models_answer_as_one_process(tmp_path: Path) -> None:
    thumbnails = [picture(tmp_path / f"{number}.png", seed=number, size=(32, 32)) for number in range(40)]
    photos = [picture(tmp_path / f"photo{number}.jpg", seed=number, size=(400, 300)) for number in range(3)]
    bundled = router()
    make = bundled.elsewhere()
    assert make is not None
    found = verdicts_of([*thumbnails, *photos], tmp_path, make)
    expected = [bundled.classify(path) for path in [*thumbnails, *photos]]
    assert [(one.path, one.label, one.score, one.model) for one in found] == [
        (one.path, one.label, one.score, one.model) for one in expected
    ]
    assert {one.model for one in found} == {"compact_int8", "photo_int8"}


def fail() -> Router:
    raise ModelError("cannot be run: an operation is missing")


def test_models_that_cannot_be_loaded_in_a_process_are_an_error(tmp_path: Path) -> None:
    with DecodePool(1, str(tmp_path), INPUTS, None, fail) as workers:
        workers.submit(task(picture(tmp_path / "a.png")))
        with pytest.raises(ModelError, match="an operation is missing"):
            outcomes(workers, 1)


PHOTOS = (
    Input(0, (32, 32), None, Domain((32, 32), (32, 32))),
    Input(1, (128, 128), Views((ViewSet(4),), (ViewSet(9),))),
)


def test_photos_and_thumbnails_are_prepared_as_without_processes(tmp_path: Path) -> None:
    """The views of a photo are more than a socket holds at once."""
    sizes = [(300, 200) if number % 3 else (32, 32) for number in range(40)]
    tasks = [task(picture(tmp_path / f"{n}.png", size=size, seed=n)) for n, size in enumerate(sizes)]
    with DecodePool(2, str(tmp_path), PHOTOS) as workers:
        for one in tasks:
            workers.submit(one)
        found = dict(outcomes(workers, len(tasks)))
    for one, size in zip(tasks, sizes, strict=True):
        outcome, alone = found[one], prepare(str(tmp_path), one, PHOTOS)
        assert isinstance(outcome, Prepared)
        assert isinstance(alone, Prepared)
        assert outcome.size == size
        assert outcome.model == (size == (300, 200))
        assert outcome.pixels is not None
        assert outcome.pixels.shape == ((13, 128, 128, 3) if outcome.model else (1, 32, 32, 3))
        assert (outcome.pixels == alone.pixels).all()


def test_processes_that_wait_for_room_keep_outcomes_and_do_not_count_as_hung(tmp_path: Path) -> None:
    tasks = [task(picture(tmp_path / f"{n}.png", size=(300, 200), seed=n)) for n in range(12)]
    with DecodePool(2, str(tmp_path), PHOTOS) as workers:
        for one in tasks:
            workers.submit(one)
        workers.send()
        pids = [worker.process.pid for worker in workers._workers]
        for worker in workers._workers:
            assert worker.connection.poll(30), "it has sent nothing"
        workers._limits = DecodeLimits(seconds=0.05, least_waiting_seconds=0.5)
        time.sleep(1)
        assert workers.outcomes(room_bytes=0) == []
        assert workers.in_flight == 12
        assert [worker.process.pid for worker in workers._workers] == pids
        workers._limits = DecodeLimits()
        found: list[tuple[Task, object]] = []
        deadline = time.monotonic() + 30
        while len(found) < 12:
            assert time.monotonic() < deadline
            some = workers.outcomes(1, room_bytes=1)
            assert len(some) <= 1
            found += some
    assert all(isinstance(outcome, Prepared) for _, outcome in found)
