"""One desk for all rows of a session, and servers that begin with the rows before their tests ask."""

from collections.abc import Iterator

import pytest

from tests.bad_input.harness import Rows


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rows]:
    made = Rows(tmp_path_factory.mktemp("rows"))
    asked = (getattr(item, "callspec", None) for item in request.session.items)
    made.begin(call.params["one"] for call in asked if call is not None and "one" in call.params)
    yield made
    made.close()
