"""What is freed is used again: counted in page faults, which nothing else on the machine changes."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from tzrec.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
x, y = torch.ones(8192, 8), torch.ones(8, 1200)
def use():
    z = x @ y
    z = (z - 1).exp()
for _ in range(20):  # It takes some rounds until blocks of the right sizes are free.
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="skipped: glibc's malloc")
def test_freed_memory_is_used_again() -> None:
    assert faults("keep") < 0.05 * faults("give back")
