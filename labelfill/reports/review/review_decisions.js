"use strict";
// What a person decided about single points: undone and redone, kept, handed over as csv, read back from it.

const data = JSON.parse(document.getElementById("data").textContent);
const STORE = ["labelfill review", data.hash, data.reviewer].filter(Boolean).join(" ");
const HEADER = ["row", "keypoint", "action", "x", "y"];
const REVIEWER = "reviewer";

// "row:keypoint number" -> { action, x, y, reviewer }; also of rows that are not on this page (opened from a file).
const decisions = new Map();
const past = [], future = []; // steps: lists of [key, decision before, decision after]
let kept = true; // whether all decisions are somewhere else than on this page

const keyOf = (row, k) => row + ":" + k;
const rowOf = (key) => key.split(":").map(Number);
const decisionOn = (row, k) => decisions.get(keyOf(row, k));

/** Decide on points in one step, which is undone as a whole: [row, keypoint number, decision or null] of each. */
function decide(changes) {
  const by = data.reviewer ? { reviewer: data.reviewer } : {};
  step(changes.map(([row, k, decision]) => [keyOf(row, k), decision && { ...decision, ...by }]));
}

function step(changes) {
  if (!changes.length) return;
  past.push(changes.map(([key, after]) => [key, decisions.get(key), after]));
  future.length = 0;
  set(changes);
}

/** Undo the last step; the step, or undefined if there is none. */
function undoStep() {
  const last = past.pop();
  if (last) { future.push(last); set(last.map(([key, before]) => [key, before])); }
  return last;
}

function redoStep() {
  const next = future.pop();
  if (next) { past.push(next); set(next.map(([key, , after]) => [key, after])); }
  return next;
}

function set(changes) {
  for (const [key, decision] of changes) {
    if (decision) decisions.set(key, decision);
    else decisions.delete(key);
  }
  if (data.served) send(changes); // review_server.js
  else store();
}

// -- kept in this browser ----------------------------------------------------------------------------

function store() {
  if (data.served) return;
  try {
    localStorage.setItem(STORE, JSON.stringify({ at: currentRow(), decisions: [...decisions] }));
    kept = true;
  } catch {
    kept = false; // a private window, or no room left: the page says so, and asks before it is closed
  }
}

/** The row that was looked at last; undefined if nothing is kept. */
function restore() {
  if (data.served) {
    for (const [row, k, decision] of data.decisions) decisions.set(keyOf(row, k), decision);
    return undefined;
  }
  try {
    const stored = JSON.parse(localStorage.getItem(STORE));
    if (!stored) return undefined;
    decisions.clear();
    past.length = future.length = 0; // steps of another tab would undo what is not there
    for (const [key, decision] of stored.decisions) decisions.set(key, decision);
    return stored.at;
  } catch {
    return undefined;
  }
}

// -- csv ---------------------------------------------------------------------------------------------
// Files are handled as texts of one character per byte: names need not be valid UTF-8 in a table, and are
// written as they stand there (Python hands such a byte over as a lone surrogate U+DC80 to U+DCFF).

function bytesOf(text) {
  let bytes = "";
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) bytes += String.fromCharCode(code - 0xdc00);
    else for (const byte of new TextEncoder().encode(character)) bytes += String.fromCharCode(byte);
  }
  return bytes;
}

const textOf = (bytes) => new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
const quoted = (field) => (/[",\r\n]/.test(field) ? '"' + field.replaceAll('"', '""') + '"' : field);
const line = (fields) => fields.map((field) => quoted(String(field))).join(",") + "\n";
const isPlaced = (action) => action === "accepted" || action === "moved";

function px(value) {
  const text = value.toFixed(4);
  return text === "-0.0000" ? "0.0000" : text;
}

function sortedDecisions() {
  const all = [...decisions].map(([key, decision]) => [...rowOf(key), decision]);
  return all.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

function correctionsCsv() {
  const all = sortedDecisions();
  const named = all.some(([, , { reviewer }]) => reviewer);
  const lines = all.map(([row, k, { action, x, y, reviewer }]) => {
    const place = isPlaced(action) ? [px(x), px(y)] : ["", ""];
    return line([row, bytesOf(data.names[k]), action, ...place, ...(named ? [bytesOf(reviewer ?? "")] : [])]);
  });
  return line(named ? [...HEADER, REVIEWER] : HEADER) + lines.join("");
}

function distrustCsv() {
  const wrong = sortedDecisions().filter(([, , decision]) => decision.action === "wrong");
  const keys = new Set([...data.distrusted, ...wrong].map(([row, k]) => keyOf(row, k)));
  const all = [...keys].map(rowOf).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  return line(["row", "keypoint"]) + all.map(([row, k]) => line([row, bytesOf(data.names[k])])).join("");
}

function download(name, bytes) {
  const content = Uint8Array.from(bytes, (character) => character.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The records of a csv text; quotes may hold commas, quotes and line ends. */
function records(text) {
  const found = [];
  let fields = [], field = "", inside = false;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (inside && c !== undefined) {
      if (c === '"' && text[i + 1] === '"') { field += '"'; i++; }
      else if (c === '"') inside = false;
      else field += c;
    } else if (c === '"' && field === "") inside = true;
    else if (c === ",") { fields.push(field); field = ""; }
    else if (c === "\n" || c === undefined) {
      fields.push(field.replace(/\r$/, ""));
      if (fields.length > 1 || fields[0] !== "") found.push(fields);
      fields = []; field = "";
    } else field += c;
  }
  return found;
}

/** Take over the decisions of a corrections.csv; how many, or throws a sentence. */
function takeOver(bytes) {
  const [header, ...lines] = records(bytes.replace(/^\xef\xbb\xbf/, ""));
  if (![HEADER, [...HEADER, REVIEWER]].some((columns) => header?.join() === columns.join()))
    throw new Error(`The file does not begin with ${HEADER.join()}.`);
  const numbers = new Map(data.names.map((name, k) => [bytesOf(name), k]));
  const found = lines.map(([row, name, action, x, y, reviewer], i) => {
    const placed = isPlaced(action);
    const known = numbers.has(name) && /^\d+$/.test(row) && Number(row) < data.count;
    const numeric = placed && x !== "" && y !== "" && isFinite(x) && isFinite(y);
    if (!known || !(numeric || action === "rejected" || action === "wrong"))
      throw new Error(`Line ${i + 2} of the file does not fit this table.`);
    const decision = placed ? { action, x: Number(x), y: Number(y) } : { action };
    if (reviewer) decision.reviewer = textOf(reviewer);
    return [keyOf(Number(row), numbers.get(name)), decision];
  });
  step(found);
  return found.length;
}
