"""A review that is served: decisions are kept as they are made, and the table is filled anew by them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.corrections import read_decisions
from labelfill.reports.review.server import MOST_BYTES
from tests.browser import complaints
from tests.driving import bare_table, done, labelfill, read_provenance
from tests.reports.test_review_comfort import by_size, window
from tests.reviewing import press, row_number, shown, wait_for
from tests.trained_runs import Trained, copied

ROOT = Path(__file__).parents[2]


@dataclass
class Serving:
    """A review that is served by a process of its own."""

    process: subprocess.Popen[str]
    url: str
    folder: Path
    trained: Trained

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    @property
    def secret(self) -> str:
        return self.url.split("/")[3]

    @property
    def corrections(self) -> Path:
        return self.folder / "kept.csv"

    def ask(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and content of an answer; headers named with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method or ("GET" if body is None else "POST"), path, body, {**kind, **given})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def decide(self, *changes: object) -> int:
        body = json.dumps({"changes": changes}).encode()
        return self.ask(f"/{self.secret}/decisions", body)[0]

    def end(self) -> tuple[int, str, str]:
        """Ctrl-C: exit code and what was said."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def serving(trained: Trained, folder: Path, *options: object) -> Iterator[Serving]:
    command = [
        sys.executable, "-m", "labelfill", "review", "--serve", "--run-dir", trained.run,
        "--corrections", folder / "kept.csv", "--out", folder / "reviewed.csv", *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        [str(word) for word in command], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs tests in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = next((line for line in process.stderr if "http://" in line), "")
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", line)
        assert found is not None, line
        yield Serving(process, found[0], folder, trained)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def filled(small_prior: Trained, tmp_path: Path) -> Trained:
    """A run of its own with a filled table, whose models no other test sees filled anew."""
    trained = copied(small_prior.run.parent, tmp_path / "copy")
    done("impute", "--run-dir", trained.run, "--out", tmp_path / "filled.csv")
    return trained


def blank_points(table: Path) -> list[list[int]]:
    """Row and keypoint number of points that are wholly blank."""
    return np.argwhere(~bare_table(table).observed.any(axis=2)).tolist()


@by_size
def test_decisions_are_kept_and_the_table_is_filled_anew(
    browser: Any, filled: Trained, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Each step is in the file at once, undone ones are not; `refill` confirms what was accepted, tells how
    radii changed, and goes on with rows that are still open; Ctrl-C ends it."""
    with serving(filled, tmp_path, "--reviewer", "anna") as served, window(browser, size):
        browser.get(served.url)
        first = row_number(browser)
        press(browser, "r")
        wait_for(lambda: served.corrections.exists() and len(read_decisions(served.corrections)) == 1)
        press(browser, "CONTROL+z")
        wait_for(lambda: not read_decisions(served.corrections))
        assert read_decisions(served.corrections) == {}
        press(browser, "A")
        wait_for(lambda: bool(read_decisions(served.corrections)))
        kept = read_decisions(served.corrections)
        assert {row for row, _ in kept} == {first}
        assert {(one.action, one.reviewer) for one in kept.values()} == {("accepted", "anna")}
        browser.get(served.url)
        assert row_number(browser) != first, "after a reload the review goes on where it was"
        browser.find_element("id", "refill").click()
        wait_for(lambda: "Filled anew" in shown(browser, "refilled"))
        assert "px before" in shown(browser, "refilled")
        assert row_number(browser) != first
        confirmed = {
            (int(line["row"]), line["keypoint"])
            for line in read_provenance(tmp_path / "reviewed.csv")
            if line["method"] == "confirmed"
        }
        assert confirmed == set(kept)
        press(browser, "CONTROL+z")  # a step before the page was loaded anew is not undone
        assert read_decisions(served.corrections) == kept
        press(browser, "r")
        wait_for(lambda: len(read_decisions(served.corrections)) == len(kept) + 1)
        assert complaints(browser) == []
        code, out, _ = served.end()
    assert code == 0
    assert f"{len(kept) + 1} decisions in {served.corrections}" in out
    assert f"labelfill impute --corrections {served.corrections}" in out
    corrected = tmp_path / "corrected.csv"
    ended = labelfill(
        "impute", "--run-dir", filled.run, "--out", corrected, "--corrections", served.corrections
    )
    assert ended.code == 6, "the rejected point stays blank"


def test_refill_does_what_impute_does(filled: Trained, tmp_path: Path) -> None:
    """The same bytes as by `labelfill impute --corrections` with the file that was kept."""
    (row, k), (other, other_k) = blank_points(filled.table)[:2]
    with serving(filled, tmp_path) as served:
        moved = [row, k, {"action": "moved", "x": 10.5, "y": 11.25}]
        assert served.decide(moved, [other, other_k, {"action": "rejected"}]) == 200
        status, body = served.ask(f"/{served.secret}/refill", b"{}")
        told = json.loads(body)
        assert status == 200
        assert told["said"].startswith("Filled anew by 2 decisions")
        points = {(one["row"], point["k"]) for one in told["rows"] for point in one["points"]}
        assert (other, other_k) in points, "what was rejected can still be looked at"
        assert served.ask(f"/{served.secret}/refill", b"{}")[0] == 200, "as often as one likes"
        code, out, _ = served.end()
    assert code == 0
    assert f"labelfill train-final --filled {tmp_path / 'reviewed.csv'}" in out
    expected = tmp_path / "expected.csv"
    labelfill("impute", "--run-dir", filled.run, "--out", expected, "--corrections", served.corrections)
    assert (tmp_path / "reviewed.csv").read_bytes() == expected.read_bytes()
    with serving(filled, tmp_path) as served:  # goes on from the file, and over its own output
        assert served.decide([row, k, None]) == 200
        assert [(one.row, one.action) for one in read_decisions(served.corrections).values()] == [
            (other, "rejected")
        ]
        assert served.ask(f"/{served.secret}/refill", b"{}")[0] == 200


def test_only_the_page_is_answered(filled: Trained, tmp_path: Path) -> None:
    """Without the secret, under another name, from another site, too much or not JSON: refused, and nothing
    is kept; the server goes on."""
    row, k = blank_points(filled.table)[0]
    body = json.dumps({"changes": [[row, k, {"action": "rejected"}]]}).encode()
    with serving(filled, tmp_path) as served:
        page, decisions = f"/{served.secret}/", f"/{served.secret}/decisions"
        assert served.ask("/")[0] == 403
        assert served.ask(f"/{'x' * 32}/")[0] == 403
        assert served.ask(f"/{'x' * 32}/decisions", body)[0] == 403
        assert served.ask(page, Host="evil.example")[0] == 403
        assert served.ask(page, Host=f"evil.example:{served.port}")[0] == 403
        assert served.ask(decisions, body, Host=f"evil.example:{served.port}")[0] == 403
        assert served.ask(decisions, body, Origin="http://evil.example")[0] == 403
        assert served.ask(decisions, body, Origin="null")[0] == 403
        assert served.ask(decisions, body, Content_Type="text/plain")[0] == 415
        assert served.ask(decisions, b"", Content_Length=str(MOST_BYTES + 1))[0] == 413
        assert served.ask(decisions, b"", Content_Length="9" * 5000)[0] == 413
        assert served.ask(decisions, b"", Content_Length="-1")[0] == 411
        assert served.ask(f"/{served.secret}/other")[0] == 404
        assert served.ask(page, method="DELETE")[0] == 501
        assert not served.corrections.exists()
        status, html = served.ask(page, Host=f"localhost:{served.port}")
        assert status == 200
        assert served.secret.encode() not in html
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((_other_address(), served.port), timeout=5)
        code, _, err = served.end()
    assert code == 0
    assert served.secret not in err


def _other_address() -> str:
    """An address of this machine that is not the one which is listened at."""
    return "127.0.0.2"


@pytest.mark.parametrize(
    "change",
    [
        [0, 99, {"action": "rejected"}], [-1, 0, {"action": "rejected"}], [10**9, 0, None],
        ["blank", "blank", {"action": "wrong"}], ["blank", "blank", {"action": "kept"}],
        ["blank", "blank", {"action": "moved"}],
        ["blank", "blank", {"action": "moved", "x": float("nan"), "y": 1}],
        ["label", "label", {"action": "rejected"}], ["blank", "blank", {"verdict": "rejected"}], "text",
    ],
    ids=str,
)  # fmt: skip
def test_a_decision_that_does_not_fit_is_refused(filled: Trained, tmp_path: Path, change: Any) -> None:
    """It is answered by a sentence, and none of its batch is kept."""
    from labelfill.errors import DataError
    from labelfill.reports.review.session import Changes, ReviewSession, SessionRequest
    from labelfill.runs.records import read_record
    from labelfill.settings import RunSettings

    places = {"blank": blank_points(filled.table)[0], "label": [0, 0]}
    good = [*blank_points(filled.table)[1], {"action": "rejected"}]
    if change[0] in places:
        change = [*places[change[0]], change[2]]
    session = ReviewSession(SessionRequest(RunSettings(run_dir=filled.run), None, tmp_path / "kept.csv"))
    with pytest.raises(DataError):
        session.decide(read_record(Changes, json.dumps({"changes": [good, change]})))
    assert session.decisions == {}
    assert not (tmp_path / "kept.csv").exists()
    session.decide(read_record(Changes, json.dumps({"changes": [good]})))
    assert len(session.decisions) == 1


def test_what_cannot_be_served_is_refused(filled: Trained, tmp_path: Path) -> None:
    """A port that is taken, a file in the way, another run's table, decisions on another table."""
    common = ["review", "--serve", "--run-dir", filled.run]
    in_the_way = tmp_path / "other.csv"
    in_the_way.write_text("a\n")
    assert "--force" in labelfill(*common, "--out", in_the_way).sentence
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = labelfill(*common, "--port", taken.getsockname()[1])
    assert (refused.code, "--port" in refused.sentence) == (5, True)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("row,keypoint,action,x,y\n0,no such point,rejected,,\n")
    refused = labelfill(*common, "--corrections", wrong)
    assert (refused.code, "no such point" in refused.sentence) == (3, True)
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_bytes((tmp_path / "filled.csv").read_bytes())
    refused = labelfill(*common, "--filled", elsewhere)
    assert (refused.code, "did not fill" in refused.sentence) == (3, True)
