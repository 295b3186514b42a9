// The page: which row and point is looked at, what keys and buttons do, and what is said about it.

const WORDS = {
  label: "label of the table", fill: "filled", accepted: "accepted", moved: "moved", rejected: "rejected",
  wrong: "label marked as wrong",
};
const element = (id) => document.getElementById(id);
const rows = data.rows;
let listed = rows; // those that the filter lets through
let at = 0; // number in `listed`
let chosen = 0; // number of a point of that row
let downloaded = true;

const shownRow = () => listed[at];
const chosenPoint = () => shownRow()?.points[chosen];
function currentRow() { return shownRow()?.row; }

// -- points ------------------------------------------------------------------------------------------

function stateOf(row, point) {
  return decisionOn(row.row, point.k)?.action ?? (point.label ? "label" : "fill");
}

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
  decide(currentRow(), point.k, decision);
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
    if (!point.observed) return say(`${point.shown} is no label of the table; r rejects a fill.`);
    settle(point, { action: "wrong" }, `${point.shown}: label marked as wrong`);
  },
  undo() {
    const point = chosenPoint();
    if (!point || !decisionOn(currentRow(), point.k)) return say("There is nothing to take back here.");
    settle(point, null, `${point.shown}: decision taken back`);
  },
  acceptAll() {
    const row = shownRow();
    if (!row) return;
    const points = undecided(row);
    for (const point of points) decide(row.row, point.k, { action: "accepted", x: point.x, y: point.y });
    if (points.length) downloaded = false;
    say(`${points.length} fills of row ${row.row} accepted`);
    if (at < listed.length - 1) go(at + 1);
    else show();
  },
  next() { go(at + 1); },
  previous() { go(at - 1); },
  nextPoint() { select(chosen + 1); },
  previousPoint() { select(chosen - 1); },
  zoom() { toggle("zoomed", "zoom"); },
  hide() { toggle("hidden", "hide"); },
  brighten() { element("brighten").setAttribute("aria-pressed", picture.classList.toggle("bright")); },
  help() { element("keys").open = !element("keys").open; },
  corrections() {
    download("corrections.csv", correctionsCsv());
    downloaded = true;
    say(`corrections.csv: ${decisions.size} decisions`);
  },
  distrust() {
    download("distrust.csv", distrustCsv());
    say("distrust.csv: the labels marked as wrong");
  },
};

function toggle(what, button) {
  view[what] = !view[what];
  element(button).setAttribute("aria-pressed", view[what]);
  show();
}

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
  store();
  show();
  say(`Row ${currentRow()}, ${at + 1} of ${listed.length}. ${shownRow().why}`);
}

function select(number) {
  const count = shownRow()?.points.length;
  if (!count) return;
  chosen = (number + count) % count;
  show();
}

// -- what is shown -----------------------------------------------------------------------------------

let saying = 0;
function say(text) {
  const status = element("status");
  status.textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { status.textContent = ""; }, 8000);
}

function show() {
  const row = shownRow();
  element("empty").hidden = Boolean(row);
  element("work").hidden = !row;
  element("counts").textContent = counts();
  element("unsaved").hidden = storing;
  if (!row) return;
  element("where").textContent = `${at + 1} of ${listed.length}: row ${row.row} (line ${row.line})`;
  element("why").textContent = row.why;
  element("about").textContent = row.about;
  element("previous").disabled = at === 0;
  element("next").disabled = at === listed.length - 1;
  showPoints(row);
  showButtons(row);
  draw(row, chosen);
}

function showPoints(row) {
  const list = element("points");
  const options = row.points.map((point, i) => {
    const option = document.createElement("li");
    const state = stateOf(row, point);
    option.id = "point" + i;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", i === chosen);
    const sign = shape("svg", { viewBox: "-10 -10 20 20", "aria-hidden": "true" }, marker(state, 0, 0, 1));
    const name = document.createElement("span");
    name.textContent = point.shown;
    const told = document.createElement("small");
    told.textContent = state === "fill" ? `radius ${point.radius.toFixed(1)} px` : WORDS[state];
    if (state === "label" && point.flags) told.textContent = point.flags.replaceAll(" ", ", ");
    option.append(sign, name, told);
    option.addEventListener("click", () => select(i));
    return option;
  });
  list.replaceChildren(...options);
  list.setAttribute("aria-activedescendant", "point" + chosen);
  const top = options[chosen]?.offsetTop; // within the list, which is positioned: scrolls the list alone, never the page
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + options[chosen].offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top;
  element("point").textContent = row.points.length ? described(row, row.points[chosen]) : "";
}

function described(row, point) {
  const { x, y } = placeOf(row, point);
  const half = point.filled.length === 1 ? `, only ${point.filled}` : "";
  const doubt = point.label ? "" : `, filled by ${point.method} with radius ${point.radius.toFixed(1)} px`;
  const flags = point.flags ? `; ${point.flags.replaceAll(" ", ", ")}` : "";
  return `${point.shown}: ${WORDS[stateOf(row, point)]}${half} at ${x.toFixed(2)}, ${y.toFixed(2)}${doubt}${flags}`;
}

function showButtons(row) {
  const point = row.points[chosen];
  element("accept").disabled = element("reject").disabled = !point || point.label;
  element("wrong").disabled = !point?.observed;
  element("undo").disabled = !point || !decisionOn(row.row, point.k);
  element("acceptAll").disabled = !undecided(row).length;
}

function counts() {
  const made = [...decisions.values()];
  const parts = ["accepted", "moved", "rejected", "wrong"].map((action) => {
    return `${made.filter((decision) => decision.action === action).length} ${action}`;
  });
  const finished = rows.filter((row) => !undecided(row).length).length;
  return `${parts.join(", ")}; ${finished} of ${rows.length} rows finished`;
}

function filter() {
  const wanted = element("filter").value;
  const before = currentRow();
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
  a: "accept", A: "acceptAll", r: "reject", w: "wrong", u: "undo", z: "zoom", h: "hide", b: "brighten",
  d: "corrections", "?": "help", n: "next", p: "previous",
  ArrowRight: "next", ArrowLeft: "previous", ArrowDown: "nextPoint", ArrowUp: "previousPoint",
};
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select, input")) return;
  if (event.shiftKey && STEPS[key]) {
    const step = element("fine").checked ? 0.1 : 1;
    nudge(...STEPS[key].map((by) => by * step));
  } else if (KEYS[key] && (key.length > 1 || element("letters").checked)) actions[KEYS[key]]();
  else return;
  event.preventDefault();
});

for (const [id, action] of Object.entries(actions)) element(id)?.addEventListener("click", action);
element("filter").addEventListener("change", filter);
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
  if (event.key === STORE) { restore(); show(); } // another tab works on the same table
});
window.addEventListener("beforeunload", (event) => {
  if (!storing && !downloaded) event.preventDefault();
});
window.addEventListener("resize", () => shownRow() && draw(shownRow(), chosen));

picture.style.setProperty("--shape", data.shape);
for (const item of document.querySelectorAll("#legend [data-state]")) {
  item.prepend(shape("svg", { viewBox: "-10 -10 20 20", "aria-hidden": "true" }, marker(item.dataset.state, 0, 0, 1)));
}
const last = restore();
const first = rows.findIndex((row) => row.row === last);
if (rows.length) go(Math.max(first, 0));
else show();
