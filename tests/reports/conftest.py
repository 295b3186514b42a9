"""A filled table with its review page, and a browser, for the tests of that page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import chromium
from tests.trained_runs import Trained

if TYPE_CHECKING:
    from tests.reviewing import Reviewed


@pytest.fixture(scope="module")
def reviewed(small_prior: Trained, tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    from tests.reviewing import review

    return review(small_prior, tmp_path_factory.mktemp("reviewed"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def opened(browser: Any, reviewed: Reviewed) -> Any:
    from tests.reviewing import open_page

    return open_page(browser, reviewed)
