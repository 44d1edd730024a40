"""Selection of files by name."""

import pytest

from edge.sources.filters import Names


@pytest.mark.parametrize(
    ("include", "exclude", "admitted", "refused"),
    [
        ((), (), ["a.jpg", "A.JPG", "sub/b.webp"], ["a.txt", ".a.jpg", "a.jpg.part", "a.jpg~", "a.JPG.TMP"]),
        (("*.jpg",), (), ["a.jpg", "A.JPG", "sub/a.jpg"], ["a.png", ".a.jpg"]),
        (("*",), (), ["a.jpg", "a.dat"], [".a.jpg", "a.part"]),
        ((".*", "*.tmp"), (), [".a.jpg", "a.tmp"], ["a.jpg", "a.part", ".a.part"]),
        (("sub/*",), (), ["sub/a.jpg"], ["a.jpg"]),
        ((), ("draft*", "sub/*"), ["a.jpg"], ["Draft 1.jpg", "sub/a.jpg"]),
    ],
)
def test_names_are_selected_by_patterns(
    include: tuple[str, ...], exclude: tuple[str, ...], admitted: list[str], refused: list[str]
) -> None:
    names = Names(include, exclude)
    for name in admitted:
        assert names.admit(f"/in/{name}", "/in"), name
    for name in refused:
        assert not names.admit(f"/in/{name}", "/in"), name
