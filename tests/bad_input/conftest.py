"""One server and one desk for all rows of a session."""

from collections.abc import Iterator

import pytest

from tests.bad_input.harness import Rows


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    made = Rows(tmp_path_factory.mktemp("rows"))
    yield made
    made.server.close()
