"""Memory between large images: kept without page faults, and given back."""

import platform
import resource
import subprocess
import sys

import pytest

from tests.conftest import environment

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

PROGRAM = """
import resource
from edge.process import heap

def work():
    for size in (20_000_000, 10_000_000, 15_000_000):
        bytes([1]) * size

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

work()
usual = faults()
heap.keep()
work()
kept, before = faults(), resident()
heap.give_back()
print(usual, kept, before - resident())
"""


@glibc
def test_memory_is_kept_between_images_and_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment(), capture_output=True, text=True, check=True
    )
    usual, kept, given_back = map(int, done.stdout.split())
    assert usual > 10_000_000 // resource.getpagesize() / 4
    assert kept < usual / 20
    assert given_back > 15_000_000
