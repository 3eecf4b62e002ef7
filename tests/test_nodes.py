"""Two hosts: two torchrun agents, each in a network namespace of its own with its own address."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small import Running, Small, make_small
from tzrec.training.checkpoint import path_of, read_facts

ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[tuple[str, ...]]]:
    """What to write before a command so that it runs on the first or on the second host."""
    names = [f"tzrec-{os.getpid()}-{number}" for number in range(2)]
    if shutil.which("ip") is None:
        pytest.skip("skipped: no ip command (iproute2)")
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "veth0", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [("ip", "netns", "exec", name) for name in names]
    except subprocess.CalledProcessError as error:
        pytest.skip(f"skipped: may not make network namespaces ({error.stderr.decode().strip()})")
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_two_hosts_train_as_one_does(hosts: list[tuple[str, ...]], trained: Small, tmp_path: Path) -> None:
    """The metrics are those of two processes on one host: same batches, same negatives."""
    small = make_small(tmp_path / "small")
    running = [
        Running(
            *(tmp_path / str(number), "tzrec.train_eval", "--pipeline_config_path", small.config),
            launcher=(
                *("--nnodes=2", f"--node-rank={number}", "--rdzv-backend=c10d", "--rdzv-id=two"),
                *(f"--rdzv-endpoint={ADDRESSES[0]}:29400", f"--local-addr={address}"),
                # Here no host can find its address by its name.
                f"--rdzv-conf=is_host={int(number == 0)},join_timeout=120",
            ),
            before=host,
            # A host knows itself by a name that the others may resolve otherwise: name the device.
            GLOO_SOCKET_IFNAME="veth0",
        )
        for number, (host, address) in enumerate(zip(hosts, ADDRESSES, strict=True))
    ]
    assert [each.end(200) for each in running] == [0, 0], [each.err.read_text() for each in running]
    said = [each.out.read_text() for each in running]
    assert sum("2 processes on cpu" in text for text in said) == 1
    found, expected = (
        [json.loads(line) for line in (model / "train_eval_result.txt").read_text().splitlines()]
        for model in (small.model, trained.model)
    )
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert read_facts(path_of(small.model, 16)).data.legs[-1].ranks == 2
