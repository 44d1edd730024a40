"""A collection of photos is read, split, cut into pieces, augmented and made into batches."""

import json
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from train import torch_weights
from train.cli import _sides
from train.photos import pieces as cutting
from train.photos.augment import Augmentation, augmented
from train.photos.batches import Crops, CropSettings
from train.photos.collection import CollectionError, Picture, Split, read, shares, without_copies
from train.photos.pieces import SIDE, Pieces, Side, cut

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def scene(width: int, height: int, seed: int) -> Image.Image:
    """Smooth shapes with some grain, which depend on the seed."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + random.integers(-9, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def put(path: Path, seed: int, size: tuple[int, int] = (120, 100), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scene(*size, seed).save(path, **options)
    return path


def picture(path: str, label: int = 0, **row: Any) -> Picture:
    source = Path(path).parent.name
    return Picture(Path(path), label, source, str(row.get("repository") or f"{label}/{source}"), row)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources of each class with three pictures each, and a manifest."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number, name in enumerate(("REAL/phone", "REAL/web", "REAL/film", "FAKE/one", "FAKE/two", "FAKE/three")):
        for index in range(3):
            put(folder / name / f"{name[5:]}-{index}.png", 10 * number + index)
            rows.append({"id": f"{name[5:]}-{index}", "repository": "both" if number in (3, 4) else None})
    put(folder / "REAL" / "loose.png", 99)
    rows[0] |= {"may": "evaluate"}
    rows[9] |= {"generator": "Painter 2", "art": True}
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


def test_collection_gives_label_source_group_and_row_of_each_file(collection: Path) -> None:
    pictures = read(collection)
    assert len(pictures) == 19
    assert sum(one.label for one in pictures) == 10
    by_id = {one.id: one for one in pictures}
    assert (by_id["loose"].source, by_id["loose"].group, by_id["loose"].row) == ("", "REAL/", {})
    assert by_id["web-1"].group == "REAL/web"
    assert by_id["one-0"].group == by_id["two-2"].group == "both"
    assert (by_id["one-0"].generator, by_id["one-0"].is_art) == ("Painter 2", True)
    assert (by_id["one-1"].generator, by_id["one-1"].is_art) == ("one", False)
    assert [one.id for one in pictures if not one.may_train] == ["phone-0"]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"label": "REAL"}'])
def test_damaged_manifest_reports_its_line(tmp_path: Path, line: str) -> None:
    for label in ("REAL", "FAKE"):
        put(tmp_path / label / "source" / "x.png", 0)
    (tmp_path / "manifest.jsonl").write_text('{"id": "x"}\n' + line + "\n")
    with pytest.raises(CollectionError, match=r"manifest\.jsonl: line 2"):
        read(tmp_path)


def test_class_without_pictures_raises_collection_error(tmp_path: Path) -> None:
    put(tmp_path / "REAL" / "source" / "x.png", 0)
    with pytest.raises(CollectionError, match=r"FAKE: no images"):
        read(tmp_path)


def test_split_keeps_groups_and_excludes_held_out_generators_and_unlicensed_pictures(
    collection: Path,
) -> None:
    pictures = read(collection)
    sides = Split(frozenset({"REAL/web"}), frozenset({"REAL/film"}), frozenset({"Painter 2"})).apply(pictures)
    assert {one.source for one in sides["validation"]} == {"web"}
    assert {one.source for one in sides["test"]} == {"film"}
    trained = [one.id for one in sides["train"]]
    assert "one-0" not in trained  # of a generator of the test
    assert "phone-0" not in trained
    assert {"one-1", "two-0", "three-2", "phone-1", "loose"} <= set(trained)
    measured = Split(frozenset({"REAL/phone"}), frozenset({"both"}), frozenset({"Painter 2"})).apply(pictures)
    assert "phone-0" in [one.id for one in measured["validation"]]
    assert "one-0" in [one.id for one in measured["test"]]


def test_random_split_is_by_group_and_reproducible(collection: Path) -> None:
    pictures = read(collection)
    split = Split.at_random(pictures, 0.3, seed=1)
    sides = split.apply(pictures)
    groups = {name: {one.group for one in of_side} for name, of_side in sides.items()}
    assert all(groups.values())
    assert not groups["train"] & (groups["validation"] | groups["test"])
    assert not groups["validation"] & groups["test"]
    assert Split.at_random(list(reversed(pictures)), 0.3, seed=1) == split
    assert any(Split.at_random(pictures, 0.3, seed).validation != split.validation for seed in range(2, 9))


@pytest.mark.parametrize("text", ["{", "[]", '{"weights": {"a": "heavy"}}', '{"test": 3}'])
def test_damaged_split_raises_collection_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(CollectionError, match=r"split\.json: not a split"):
        Split.from_file(tmp_path / "split.json")


def test_split_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text('{"validation": ["a"], "test": ["b"], "weights": {"c": 2}}')
    assert Split.from_file(tmp_path / "split.json") == Split(frozenset("a"), frozenset("b"), frozenset(), {"c": 2.0})


def test_copies_of_measured_pictures_are_dropped_from_training(tmp_path: Path) -> None:
    original = put(tmp_path / "held" / "a.png", 1, (300, 240))
    exact = tmp_path / "train" / "exact.png"
    exact.parent.mkdir()
    exact.write_bytes(original.read_bytes())
    smaller = tmp_path / "train" / "smaller.jpg"
    scene(300, 240, 1).resize((200, 160)).save(smaller, quality=80)
    other = put(tmp_path / "train" / "other.png", 2, (300, 240))
    broken = tmp_path / "train" / "broken.png"
    broken.write_text("no image")
    twin = put(tmp_path / "train" / "twin.png", 2, (300, 240))
    sides = {
        "train": [picture(str(path)) for path in (exact, smaller, other, twin, broken)],
        "validation": [picture(str(smaller))],
        "test": [picture(str(original), label=1)],
    }
    kept = without_copies(sides, tmp_path / "cache")
    assert [one.id for one in kept["train"]] == ["other", "twin", "broken"]  # copies of one side may stay
    assert kept["validation"] == []
    assert kept["test"] == sides["test"]
    assert len(sides["train"]) == 5


def test_calibrate_leaves_out_validation_pictures_that_the_test_also_has(tmp_path: Path) -> None:
    for number, name in enumerate(("REAL/a", "REAL/b", "REAL/c", "FAKE/d", "FAKE/e", "FAKE/f")):
        for index in range(2):
            put(tmp_path / name / f"{name[5:]}{index}.png", 10 * number + index)
    (tmp_path / "REAL" / "b" / "b0.png").write_bytes((tmp_path / "REAL" / "c" / "c0.png").read_bytes())
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"validation": ["REAL/b", "FAKE/e"], "test": ["REAL/c", "FAKE/f"]}))
    validation = _sides(tmp_path, split, 0, "validation")["validation"]
    assert [one.id for one in validation] == ["e0", "e1", "b1"]
    assert [one.id for one in _sides(tmp_path, split, 0, "test")["test"]] == ["f0", "f1", "c0", "c1"]
    both = _sides(tmp_path, split, 0, "train", "validation")
    assert both["validation"] == validation
    assert [one.id for one in both["train"]] == ["d0", "d1", "a0", "a1"]


def test_hashes_are_cached_until_file_changes(tmp_path: Path) -> None:
    held, trained = put(tmp_path / "held" / "a.png", 1), put(tmp_path / "train" / "b.png", 2)
    sides = {"train": [picture(str(trained))], "validation": [], "test": [picture(str(held))]}
    assert without_copies(sides, tmp_path / "cache") == sides
    kept = tmp_path / "cache" / "hashes.json"
    hashes = json.loads(kept.read_text())
    forged = [*hashes[str(trained)][:2], hashes[str(held)][2]]
    kept.write_text(json.dumps(hashes | {str(trained): forged}))
    assert without_copies(sides, tmp_path / "cache")["train"] == []
    os.utime(trained, (1, 1))
    assert without_copies(sides, tmp_path / "cache") == sides


def test_shares_balance_classes_and_weigh_sources_by_root_of_size() -> None:
    pictures = [picture(f"real/{number}", 1) for number in range(16)]
    pictures += [picture(f"few/{number}", 1) for number in range(4)]
    pictures += [picture(f"gen/{number}") for number in range(9)]
    found = np.array(shares(pictures, {}))
    assert found.sum() == pytest.approx(1)
    assert found[:20].sum() == pytest.approx(0.5)
    assert found[:16].sum() / found[16:20].sum() == pytest.approx(2)
    assert len(set(found[:16])) == 1
    weighted = np.array(shares(pictures, {"few": 2.0}))
    assert weighted[:16].sum() / weighted[16:20].sum() == pytest.approx(1)


def test_art_is_at_most_a_tenth_of_its_class() -> None:
    pictures = [picture(f"gen/{number}") for number in range(4)]
    pictures += [picture(f"art/{number}", art=True) for number in range(400)]
    pictures += [picture(f"real/{number}", 1) for number in range(5)]
    found = np.array(shares(pictures, {}))
    assert found[4:404].sum() == pytest.approx(0.05)
    assert found.sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Pictures: a large JPEG, a medium WebP, a small and a tiny PNG, and a broken JPEG."""
    folder = tmp_path_factory.mktemp("some") / "source"
    put(folder / "large.jpg", 1, (2304, 2100), quality=90)
    put(folder / "medium.webp", 2, (300, 260), quality=80)
    put(folder / "small.png", 3, (150, 100))
    put(folder / "tiny.png", 4, (80, 300))
    (folder / "broken.jpg").write_bytes((folder / "large.jpg").read_bytes()[:300])
    names = ("broken.jpg", "large.jpg", "medium.webp", "small.png", "tiny.png")
    return [picture(str(folder / name), number % 2) for number, name in enumerate(names)]


@pytest.fixture(scope="module")
def store(some: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    return cut(some, tmp_path_factory.mktemp("pieces"), processes=1)


def test_pieces_are_cut_from_readable_pictures_that_are_large_enough(
    store: Pieces, some: list[Picture], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [some[index].id for index in np.unique(store.picture)] == ["large", "medium", "small"]
    assert np.bincount(store.picture).tolist() == [0, 8, 2, 1]
    assert store.lossless.tolist() == [False] * 10 + [True]
    assert store.sizes[:8].tolist()[::2] == [[SIDE, SIDE]] * 4
    assert store.sizes[-1].tolist() == [100, 150]
    opened = store.opened()
    assert opened.shape == (11, SIDE, SIDE, 3)
    assert np.array_equal(opened[-1, :100, :150], np.asarray(scene(150, 100, 3)))
    assert not opened[-1, 100:].any()
    cut(some[-1:] + some[:1], tmp_path, processes=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "tiny.png: 80 x 300 pixels are too small" in lines[0]
    assert "broken.jpg" in lines[1]


def test_large_pictures_are_halved_as_at_inference(some: list[Picture]) -> None:
    whole, lossless = cutting._working(some[1].path)
    assert whole.size == (1152, 1050)
    assert not lossless


def test_pieces_of_the_same_pictures_come_from_the_cache(some: list[Picture], tmp_path: Path) -> None:
    first = cut(some[3:4], tmp_path, processes=1)
    was = first.path.stat().st_mtime_ns
    again = cut(some[3:4], tmp_path, processes=1)
    assert again.path.stat().st_mtime_ns == was
    assert np.array_equal(again.sizes, first.sizes)


def test_pieces_with_another_seed_leave_the_cached_ones_unchanged(some: list[Picture], tmp_path: Path) -> None:
    first = cut(some[3:4], tmp_path, processes=1)
    was = first.opened().copy()
    other = cut(some[3:4], tmp_path, seed=1, processes=1)
    assert other.path != first.path
    assert np.array_equal(first.opened(), was)


def test_stopped_cut_starts_again(some: list[Picture], tmp_path: Path) -> None:
    stopped = cut(some[3:4], tmp_path, processes=1).path
    stopped.with_name(cutting.INDEX).unlink()
    stopped.write_bytes(b"half")
    assert len(cut(some[3:4], tmp_path, processes=1).opened()) == 1


def of_kind(kind: str, seed: int = 0) -> Pixels:
    if kind == "flat":
        return np.full((224, 224, 3), 77, np.uint8)
    return np.asarray(scene(*{"large": (224, 224), "small": (100, 130)}[kind], seed))


@pytest.mark.parametrize("kind", ["large", "small", "flat"])
@pytest.mark.parametrize("lossless", [False, True])
def test_augmentation_depends_only_on_the_seed(kind: str, lossless: bool) -> None:
    piece = of_kind(kind)
    made = [augmented(piece, lossless, 64, Augmentation(), np.random.default_rng(seed)) for seed in (*range(30), 0)]
    assert {(one.shape, one.dtype.name) for one in made} == {((64, 64, 3), "uint8")}
    assert np.array_equal(made[0], made[30])
    if kind != "flat":
        assert len({one.tobytes() for one in made}) == 30
    assert np.array_equal(piece, of_kind(kind))


STEPS = ("first_jpeg", "native", "enlarged", "colour", "grey", "blurred", "sharpened", "noisy", "masked", "webp")


@pytest.mark.parametrize("step", STEPS)
def test_each_step_changes_crops_and_without_steps_they_are_unchanged(step: str) -> None:
    nothing = dict.fromkeys(Augmentation.__dataclass_fields__, 0.0) | {"native": 1.0, "not_encoded": 1.0}
    piece = of_kind("large")

    def crop(**changed: float) -> Pixels:
        return augmented(piece, True, 64, Augmentation(**(nothing | changed)), np.random.default_rng(3))

    plain = crop()
    turned = [np.rot90(part, turns) for turns in range(4) for part in (piece, piece[:, ::-1])]
    windows = (np.lib.stride_tricks.sliding_window_view(one, (64, 64, 3)).reshape(-1, 64, 64, 3) for one in turned)
    assert any((part[:, 0] == plain[0]).all((1, 2)).any() for part in windows)
    also = {"native": {"native": 0.0}, "enlarged": {"native": 0.0}, "webp": {"not_encoded": 0.0}}
    assert not np.array_equal(plain, crop(**({step: 1.0} | also.get(step, {}))))


@pytest.fixture(scope="module")
def crops(store: Pieces) -> Iterator[Crops]:
    made = of_store(store)
    yield made
    made.close()


def of_store(store: Pieces) -> Crops:
    pictures = [picture(f"source/{number}", label) for number, label in enumerate((0, 1, 0, 1, 0))]
    side = Side(pictures, store, np.array([0.0, 0.5, 0.25, 0.25, 0.0]))
    return Crops(side, CropSettings(size=32, batch_size=6, seed=5), processes=1)


def test_epoch_is_a_function_of_seed_and_number(crops: Crops, store: Pieces) -> None:
    first = list(crops.epoch(0, 9))
    assert [(images.shape, targets.shape) for images, targets in first] == [((6, 32, 32, 3), (6, 1))] * 9
    assert {float(value) for _, targets in first for value in targets[:, 0]} == {0.0, 1.0}
    assert first[0][1].dtype == np.float32
    another = of_store(store)
    again = list(another.epoch(0, 9))
    another.close()
    for (images, targets), (same_images, same_targets) in zip(first, again, strict=True):
        assert np.array_equal(images, same_images)
        assert np.array_equal(targets, same_targets)
    following = next(iter(crops.epoch(1, 1)))
    assert not np.array_equal(following[0], first[0][0])


def test_pictures_are_drawn_by_share_and_not_by_number_of_pieces(crops: Crops) -> None:
    targets = crops.labels(crops.epoch(2, 500)._chosen.reshape(-1))
    assert targets.mean() == pytest.approx(0.75, abs=0.03)  # pictures 1 and 3


class _Tensor:
    """A tensor for `_Pickler` to write as PyTorch does."""

    def __init__(self, key: str, kind: str, values: np.ndarray[Any, Any]) -> None:
        self.key, self.kind, self.values = key, kind, values


class _Pickler(pickle.Pickler):
    """Writes as `torch.save` did before version 1.6."""

    def __init__(self, file: BytesIO, torch: dict[str, ModuleType]) -> None:
        super().__init__(file, 2)
        self.torch = torch

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, tuple) or not value or value[0] != "of":
            return None
        tensor = value[1]
        return ("storage", getattr(self.torch["torch"], tensor.kind), tensor.key, "cpu", tensor.values.size)

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, _Tensor):
            return NotImplemented
        shape = value.values.shape
        strides = tuple(stride // value.values.itemsize for stride in value.values.strides)
        rebuild = self.torch["torch._utils"]._rebuild_tensor_v2
        return rebuild, (("of", value), 0, shape, strides, False, OrderedDict())


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Stand-ins for the modules and names of PyTorch that its files refer to."""
    modules = {"torch": ModuleType("torch"), "torch._utils": ModuleType("torch._utils")}
    for name in ("FloatStorage", "LongStorage"):
        setattr(modules["torch"], name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_: Any) -> None:
        raise AssertionError("is not called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    vars(modules["torch._utils"])["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    for module, content in modules.items():
        monkeypatch.setitem(sys.modules, module, content)
    return modules


def weight_file(torch: dict[str, ModuleType], magic: int = 0x1950A86A20F9469CFC6C) -> tuple[bytes, dict[str, Any]]:
    random = np.random.default_rng(0)
    arrays = {"a.weight": random.standard_normal((4, 3, 2, 2)).astype(np.float32), "a.count": np.array([7], np.int64)}
    kinds = {"float32": "FloatStorage", "int64": "LongStorage"}
    tensors = {name: _Tensor(str(i), kinds[one.dtype.name], one) for i, (name, one) in enumerate(arrays.items())}
    file = BytesIO()
    for value in (magic, 1001, {"little_endian": True}, OrderedDict(tensors), [one.key for one in tensors.values()]):
        _Pickler(file, torch).dump(value)
    for array in arrays.values():
        file.write(np.int64(array.size).tobytes() + array.tobytes())
    return file.getvalue(), arrays


def test_weights_of_pytorch_are_read_without_pytorch(tmp_path: Path, torch: dict[str, ModuleType]) -> None:
    content, arrays = weight_file(torch)
    (tmp_path / "w.pth").write_bytes(content)
    found = torch_weights.read(tmp_path / "w.pth")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_hostile_pickle_is_refused_without_calling_its_function(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(_Hostile(tmp_path / "made"), 2))
    with pytest.raises(ValueError, match=r"mkdir is not part of a weight file"):
        torch_weights.read(tmp_path / "w.pth")
    assert not (tmp_path / "made").exists()


def test_damaged_weight_files_are_refused(tmp_path: Path, torch: dict[str, ModuleType]) -> None:
    content, _ = weight_file(torch)
    other, _ = weight_file(torch, magic=1)
    path = tmp_path / "w.pth"
    shorter = [content[: len(content) * part // 9] for part in range(9)]
    of_16_bits = content.replace(b"FloatStorage", b"HalfStorage")
    for damaged in (b"", b"no pickle", other, of_16_bits, content[::-1], content[:-3], *shorter):
        path.write_bytes(damaged)
        with pytest.raises(ValueError):  # noqa: PT011  # the message is ours or numpy's
            torch_weights.read(path)
