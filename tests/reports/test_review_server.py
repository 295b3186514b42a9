"""A review that is served: decisions are kept as they are made, and the table is filled anew by them."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.cli.main import main
from labelfill.data.corrections import Decision, read_decisions
from labelfill.reports.review.server import MOST_BYTES
from tests.browser import complaints
from tests.driving import Outcome, bare_table, done, labelfill, read_provenance
from tests.reports.test_review_comfort import by_size, window
from tests.reviewing import press, row_number, shown, wait_for
from tests.trained_runs import SMALL_KEYPOINTS, Trained, copied


@dataclass(frozen=True)
class Serving:
    """A review that is being served."""

    url: str
    corrections: Path

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    @property
    def secret(self) -> str:
        return self.url.split("/")[3]

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

    def refill(self) -> dict[str, Any]:
        status, body = self.ask(f"/{self.secret}/refill", b"{}")
        assert status == 200, body
        told: dict[str, Any] = json.loads(body)
        return told


def serve(trained: Trained, folder: Path, person: Callable[[Serving], None], *options: object) -> Outcome:
    """How a review ends that is served by this thread, as by a command, while another thread is its `person`.

    Ctrl-C comes when the person is done.
    """
    printed, said, kept = io.StringIO(), io.StringIO(), folder / "kept.csv"
    failures: list[BaseException] = []

    def use() -> None:
        try:
            wait_for(lambda: "Ctrl-C" in said.getvalue() or ended.is_set())
            found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", said.getvalue())
            assert found is not None, said.getvalue()
            person(Serving(found[0], kept))
        except BaseException as error:  # raised again below, in the test itself
            failures.append(error)
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    command = [
        "review",
        "--serve",
        "--run-dir",
        trained.run,
        "--corrections",
        kept,
        "--out",
        folder / "reviewed.csv",
    ]
    ended, before = threading.Event(), signal.signal(signal.SIGINT, signal.default_int_handler)
    user = threading.Thread(target=use)
    user.start()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = main([str(word) for word in (*command, *options)])
    finally:
        ended.set()
        user.join()
        signal.signal(signal.SIGINT, before)
    for failure in failures:
        raise failure
    return Outcome(code, printed.getvalue(), said.getvalue())


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
    """Each step is in the file at once, undone ones are not; Refill confirms what was accepted, tells how
    radii changed, and goes on with rows that are still open; Ctrl-C ends it."""
    accepted: dict[tuple[int, str], Decision] = {}
    labelled = np.argwhere(bare_table(filled.table).labelled).tolist()[0]
    unfit = tmp_path / "unfit.csv"  # it rejects a label
    unfit.write_text(f"row,keypoint,action,x,y\n{labelled[0]},{SMALL_KEYPOINTS[labelled[1]]},rejected,,\n")

    def person(served: Serving) -> None:
        def kept() -> dict[tuple[int, str], Decision]:
            return read_decisions(served.corrections) if served.corrections.exists() else {}

        browser.get(served.url)
        first = row_number(browser)
        press(browser, "r")
        wait_for(lambda: len(kept()) == 1)
        assert [one.action for one in kept().values()] == ["rejected"]
        press(browser, "CONTROL+z")
        wait_for(lambda: not kept())
        assert kept() == {}
        press(browser, "A")
        wait_for(lambda: bool(kept()))
        accepted.update(kept())
        assert {row for row, _ in accepted} == {first}
        assert {(one.action, one.reviewer) for one in accepted.values()} == {("accepted", "anna")}
        browser.get(served.url)
        assert row_number(browser) != first, "after a reload the review goes on where it was"
        browser.find_element("id", "refill").click()
        wait_for(lambda: "Filled anew" in shown(browser, "refilled"))
        assert "px before" in shown(browser, "refilled")
        assert row_number(browser) != first
        press(browser, "CONTROL+z")  # steps from before the page was loaded are not undone
        press(browser, "r")
        wait_for(lambda: len(kept()) == len(accepted) + 1)
        assert kept().items() > accepted.items()
        assert complaints(browser) == []
        before = kept()
        browser.execute_script("document.getElementById('files').open = true")
        browser.find_element("id", "open").send_keys(str(unfit))
        wait_for(lambda: "Load the page anew" in shown(browser, "status"))
        assert "speaks of a fill" in shown(browser, "status")
        (refused,) = complaints(browser)  # the browser tells of it, too
        assert "400" in refused
        assert kept() == before
        browser.get(served.url)
        press(browser, "n", "r")
        wait_for(lambda: len(kept()) > len(before))
        assert len(kept()) == len(before) + 1, "what was refused is no hindrance to what follows"
        wait_for(lambda: browser.execute_script("return pending.length === 0"))

    with window(browser, size):
        ended = serve(filled, tmp_path, person, "--reviewer", "anna")
    assert ended.code == 0
    assert f"{len(accepted) + 2} decisions in {tmp_path / 'kept.csv'}" in ended.out
    assert f"labelfill impute --corrections {tmp_path / 'kept.csv'}" in ended.out
    lines = read_provenance(tmp_path / "reviewed.csv")
    confirmed = {(int(line["row"]), line["keypoint"]) for line in lines if line["method"] == "confirmed"}
    assert confirmed == set(accepted)


def test_refill_does_what_impute_does(filled: Trained, tmp_path: Path) -> None:
    """The same bytes as by `labelfill impute --corrections` with the file that was kept."""
    (row, k), (other, other_k) = blank_points(filled.table)[:2]

    def person(served: Serving) -> None:
        moved = [row, k, {"action": "moved", "x": 10.5, "y": 11.25}]
        assert served.decide(moved, [other, other_k, {"action": "rejected"}]) == 200
        told = served.refill()
        assert told["said"].startswith("Filled anew by 2 decisions")
        points = {(one["row"], point["k"]) for one in told["rows"] for point in one["points"]}
        assert (other, other_k) in points, "what was rejected can still be looked at"
        served.refill()  # as often as one likes

    ended = serve(filled, tmp_path, person)
    assert ended.code == 0
    assert f"labelfill train-final --filled {tmp_path / 'reviewed.csv'}" in ended.out
    expected = tmp_path / "expected.csv"
    labelfill("impute", "--run-dir", filled.run, "--out", expected, "--corrections", tmp_path / "kept.csv")
    assert (tmp_path / "reviewed.csv").read_bytes() == expected.read_bytes()

    def next_day(served: Serving) -> None:
        assert served.decide([row, k, None]) == 200
        (left,) = read_decisions(served.corrections).values()
        assert (left.row, left.action) == (other, "rejected")
        served.refill()

    assert serve(filled, tmp_path, next_day).code == 0, "it goes on from the file, and over its own output"


def test_only_the_page_is_answered(filled: Trained, tmp_path: Path) -> None:
    """Without the secret, under another name, from another site, too much or not JSON: refused, and nothing
    is kept; the server goes on."""
    row, k = blank_points(filled.table)[0]
    body = json.dumps({"changes": [[row, k, {"action": "rejected"}]]}).encode()
    secrets = []

    def person(served: Serving) -> None:
        secrets.append(served.secret)
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
        assert served.ask(decisions, b"[" * 10_000)[0] == 400
        assert served.ask(f"/{served.secret}/other")[0] == 404
        assert served.ask(page, method="DELETE")[0] == 501
        assert not served.corrections.exists()
        status, html = served.ask(page, Host=f"localhost:{served.port}")
        assert status == 200
        assert served.secret.encode() not in html
        # Another address of this machine, where nobody listens.
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", served.port), timeout=5)

    ended = serve(filled, tmp_path, person)
    assert ended.code == 0
    assert ended.err.count(secrets[0]) == 1, "the secret is told once, where the page's address is"


def test_a_decision_that_does_not_fit_is_refused(filled: Trained, tmp_path: Path) -> None:
    """What is no decision on a point of the table is told by a sentence, and none of its batch is kept."""
    from labelfill.errors import DataError
    from labelfill.reports.review.session import Changes, ReviewSession, SessionRequest
    from labelfill.runs.records import read_record
    from labelfill.settings import RunSettings

    blank, another = blank_points(filled.table)[:2]
    label = np.argwhere(bare_table(filled.table).labelled).tolist()[0]
    rejected, good = {"action": "rejected"}, [*another, {"action": "rejected"}]
    refused = [
        [0, 99, rejected], [-1, 0, rejected], [10**9, 0, None], [*label, rejected], "text", [*blank],
        *([*blank, told] for told in ({"action": "wrong"}, {"action": "kept"}, {"action": "moved"})),
        [*blank, {"action": "moved", "x": float("nan"), "y": 1}], [*blank, {"verdict": "rejected"}],
    ]  # fmt: skip
    session = ReviewSession(SessionRequest(RunSettings(run_dir=filled.run), None, tmp_path / "kept.csv"))
    for change in refused:
        with pytest.raises(DataError):
            session.decide(read_record(Changes, json.dumps({"changes": [good, change]})))
        assert session.decisions == {}, change
    assert not (tmp_path / "kept.csv").exists()
    session.decide(read_record(Changes, json.dumps({"changes": [good]})))
    assert list(session.decisions) == [(another[0], bare_table(filled.table).keypoints[another[1]])]


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
