"""What all tests share."""

from pathlib import Path

import pytest

from tests.small import Small, command, make_small


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """No test sees or leaves anything in the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TZREC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A fresh small data set."""
    return make_small(tmp_path / "small")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A small data set that two processes have trained on; not to be changed."""
    made = make_small(tmp_path_factory.mktemp("trained") / "small")
    done = command("tzrec.train_eval", "--pipeline_config_path", made.config, processes=2)
    assert done.returncode == 0, done.stderr
    return made
