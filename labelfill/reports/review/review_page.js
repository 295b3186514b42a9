// The page: which row and point is looked at, what keys and buttons do, and what is said about it.

const WORDS = {
  label: "label from the table", fill: "filled", accepted: "accepted", moved: "moved", rejected: "rejected",
  wrong: "label marked as wrong",
};
const element = (id) => document.getElementById(id);
let rows = data.rows;
let listed = rows; // those that the filter lets through
let at = 0; // number in `listed`
let chosen = 0; // number of a point of that row
let downloaded = true;

const shownRow = () => listed[at];
const chosenPoint = () => shownRow()?.points[chosen];
function currentRow() { return shownRow()?.row; }

// -- points ------------------------------------------------------------------------------------------

function stateOf(row, point) {
  return decisionOn(row.row, point.k)?.action ?? (distrusted(point) ? "wrong" : point.label ? "label" : "fill");
}

/** Whether it is a label that was marked as wrong before the table was filled. */
const distrusted = (point) => point.flags.split(" ").includes("distrusted-label");

function placeOf(row, point) {
  if (dragged?.to && dragged.point === point) return held(point, dragged.to);
  const decision = decisionOn(row.row, point.k);
  return decision && decision.x !== undefined ? decision : point;
}

/** Where a point may go: an observed coordinate of a half-labelled point stays as it is. */
function held(point, to) {
  return { x: point.filled.includes("x") ? to.x : point.x, y: point.filled.includes("y") ? to.y : point.y };
}

const undecided = (row) => row.points.filter((point) => !point.label && !decisionOn(row.row, point.k));

// -- what a person does --------------------------------------------------------------------------------

function preview() { draw(shownRow(), chosen); }

function moveTo(point, to) {
  const place = held(point, to);
  settle(point, { action: "moved", ...place }, `${point.shown} moved to ${place.x.toFixed(1)}, ${place.y.toFixed(1)}`);
}

function settle(point, decision, said) {
  decide([[currentRow(), point.k, decision]]);
  changed(said);
}

function changed(said) {
  downloaded = false;
  show();
  say(said);
}

function nudge(dx, dy) {
  const point = chosenPoint();
  if (!point) return;
  if (point.label) return say(`${point.shown} is a label and stays where it is; w marks it as wrong.`);
  const { x, y } = placeOf(shownRow(), point);
  moveTo(point, { x: x + dx, y: y + dy });
  bringInSight();
  preview();
}

/** Show what a step that was undone or redone changed. */
function revisit(step, word) {
  if (!step) return say(`There is nothing to ${word.startsWith("un") ? "undo" : "redo"}.`);
  const [row, k] = rowOf(step[0][0]);
  if (rows.some((one) => one.row === row) && !listed.some((one) => one.row === row)) {
    element("filter").value = "all";
    listed = rows;
  }
  const there = listed.findIndex((one) => one.row === row);
  if (there >= 0) {
    at = there;
    chosen = Math.max(shownRow().points.findIndex((point) => point.k === k), 0);
    bringInSight();
  }
  const points = step.length === 1 ? data.names[k] : `${step.length} points`;
  changed(`${word}: ${points} of row ${row}`);
}

const actions = {
  accept() {
    const point = chosenPoint();
    if (!point) return;
    if (point.label) return say(`${point.shown} is a label; only fills are accepted.`);
    const { x, y } = placeOf(shownRow(), point);
    const moved = stateOf(shownRow(), point) === "moved";
    if (!moved) settle(point, { action: "accepted", x, y }, `${point.shown} accepted`);
    forward();
  },
  reject() {
    const point = chosenPoint();
    if (!point) return;
    if (point.label) return say(`${point.shown} is a label; w marks a label as wrong.`);
    settle(point, { action: "rejected" }, `${point.shown} rejected: it will stay blank`);
  },
  wrong() {
    const point = chosenPoint();
    if (!point) return;
    if (!point.observed) return say(`${point.shown} is no label from the table; r rejects a fill.`);
    settle(point, { action: "wrong" }, `${point.shown}: label marked as wrong`);
  },
  takeBack() {
    const point = chosenPoint();
    if (!point || !decisionOn(currentRow(), point.k)) return say("There is nothing to take back here.");
    settle(point, null, `${point.shown}: decision taken back`);
  },
  acceptAll() {
    const row = shownRow();
    if (!row) return;
    const points = undecided(row);
    decide(points.map(({ k, x, y }) => [row.row, k, { action: "accepted", x, y }]));
    if (at < listed.length - 1) go(at + 1);
    changed(`${points.length} fills of row ${row.row} accepted`);
  },
  undo() { revisit(undoStep(), "undone"); },
  redo() { revisit(redoStep(), "redone"); },
  next() { go(at + 1); },
  previous() { go(at - 1); },
  nextPoint() { select(chosen + 1); },
  previousPoint() { select(chosen - 1); },
  zoom() { zoomTo(zoom.scale > 1 ? 1 : CLOSE_UP, chosenPlace()); },
  zoomIn() { zoomBy(STEP, chosenPlace()); },
  zoomOut() { zoomBy(1 / STEP, chosenPlace()); },
  fit() { zoomTo(1); },
  hide() { element("hide").setAttribute("aria-pressed", (hidden = !hidden)); show(); },
  brighten() { element("brighten").setAttribute("aria-pressed", picture.classList.toggle("bright")); },
  help() { element("keys").open = !element("keys").open; },
  corrections() {
    download("corrections.csv", correctionsCsv());
    downloaded = true;
    say(`corrections.csv: ${decisions.size} decisions`);
  },
  distrust() {
    download("distrust.csv", distrustCsv());
    say("distrust.csv: all labels marked as wrong, now or before");
  },
};

/** On to the next fill of this row that nobody has decided about, if there is one. */
function forward() {
  const { points } = shownRow();
  const order = points.map((_, i) => (chosen + 1 + i) % points.length);
  const next = order.find((i) => !points[i].label && !decisionOn(currentRow(), points[i].k));
  if (next !== undefined) select(next);
}

function go(to) {
  if (to < 0 || to >= listed.length) return say(to < 0 ? "This is the first row." : "This is the last row.");
  at = to;
  chosen = shownRow().start;
  bringInSight(true);
  decodeAhead([at, at + 1, at - 1].map((number) => listed[number]).filter(Boolean));
  store();
  show();
  say(`Row ${currentRow()}, ${at + 1} of ${listed.length}. ${shownRow().why}`);
}

function select(number) {
  const count = shownRow()?.points.length;
  if (!count) return;
  chosen = (number + count) % count;
  bringInSight();
  show();
}

/** List what the filter lets through, and stay at the row that is shown; or begin at the first. */
function filter(fromStart = false) {
  const wanted = element("filter").value;
  const before = fromStart ? undefined : currentRow();
  listed = rows.filter((row) => {
    if (wanted === "all") return true;
    if (wanted === "open") return undecided(row).length > 0;
    return row.points.some((point) => point.flags.split(" ").includes(wanted));
  });
  const same = listed.findIndex((row) => row.row === before);
  if (listed.length) go(Math.max(same, 0));
  else show();
}

// -- wiring ------------------------------------------------------------------------------------------

const KEYS = {
  a: "accept", A: "acceptAll", r: "reject", w: "wrong", u: "takeBack", z: "zoom", h: "hide", b: "brighten",
  d: "corrections", "?": "help", n: "next", p: "previous", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "fit",
  ArrowRight: "next", ArrowLeft: "previous", ArrowDown: "nextPoint", ArrowUp: "previousPoint",
};
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && key.toLowerCase() === "z") {
    event.preventDefault();
    return event.shiftKey ? actions.redo() : actions.undo();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select, input")) return;
  if (event.shiftKey && STEPS[key]) {
    const step = element("fine").checked ? 0.1 : 1;
    nudge(...STEPS[key].map((by) => by * step));
  } else if (KEYS[key] && (key.length > 1 || element("letters").checked)) actions[KEYS[key]]();
  else return;
  event.preventDefault();
});

for (const [id, action] of Object.entries(actions)) element(id)?.addEventListener("click", action);
element("filter").addEventListener("change", () => filter());
element("letters").addEventListener("change", (event) => document.body.classList.toggle("unlettered", !event.target.checked));
element("open").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  try {
    const bytes = Array.from(new Uint8Array(await file.arrayBuffer()), (b) => String.fromCharCode(b)).join("");
    say(`${takeOver(bytes)} decisions taken over from ${file.name}`);
  } catch (error) {
    say(error.message);
  }
  event.target.value = "";
  show();
});
window.addEventListener("storage", (event) => {
  if (event.key === STORE && !data.served) { restore(); show(); } // another tab works on the same table
});
window.addEventListener("beforeunload", (event) => {
  if (!kept && !downloaded) event.preventDefault();
});
window.addEventListener("resize", () => shownRow() && draw(shownRow(), chosen));

picture.style.setProperty("--shape", data.shape);
for (const item of document.querySelectorAll("#legend [data-state]")) {
  item.prepend(shape("svg", { viewBox: "-10 -10 20 20", "aria-hidden": "true" }, marker(item.dataset.state, 0, 0, 1)));
}
const last = restore();
// Where decisions are there, but not the row that was looked at last: the first row that is not finished.
const goOn = last === undefined && decisions.size > 0;
const first = rows.findIndex((row) => (goOn ? undecided(row).length : row.row === last));
if (data.served) serve(); // review_server.js
if (rows.length) go(Math.max(first, 0));
else show();
