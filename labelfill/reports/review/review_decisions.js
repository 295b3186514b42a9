"use strict";
// What a person decided about single points: kept in this browser, handed over as csv, read back from it.

const data = JSON.parse(document.getElementById("data").textContent);
const STORE = "labelfill review " + data.hash;
const HEADER = ["row", "keypoint", "action", "x", "y"];

// "row:keypoint number" -> { action, x, y }; also of rows that are not on this page (opened from a file).
const decisions = new Map();
let storing = true;

const keyOf = (row, k) => row + ":" + k;
const decisionOn = (row, k) => decisions.get(keyOf(row, k));

function decide(row, k, decision) {
  if (decision) decisions.set(keyOf(row, k), decision);
  else decisions.delete(keyOf(row, k));
  store();
}

// -- kept in this browser ----------------------------------------------------------------------------

function store() {
  try {
    localStorage.setItem(STORE, JSON.stringify({ at: currentRow(), decisions: [...decisions] }));
    storing = true;
  } catch {
    storing = false; // a private window, or no room left: the page says so, and asks before it is closed
  }
}

/** The row that was looked at last; undefined if nothing is kept. */
function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    if (!kept) return undefined;
    decisions.clear();
    for (const [key, decision] of kept.decisions) decisions.set(key, decision);
    return kept.at;
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

const quoted = (field) => (/[",\r\n]/.test(field) ? '"' + field.replaceAll('"', '""') + '"' : field);
const line = (fields) => fields.map((field) => quoted(String(field))).join(",") + "\n";

function px(value) {
  const text = value.toFixed(4);
  return text === "-0.0000" ? "0.0000" : text;
}

function sortedDecisions() {
  const all = [...decisions].map(([key, decision]) => [...key.split(":").map(Number), decision]);
  return all.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

function correctionsCsv() {
  const lines = sortedDecisions().map(([row, k, { action, x, y }]) => {
    const placed = action === "accepted" || action === "moved";
    return line([row, bytesOf(data.names[k]), action, placed ? px(x) : "", placed ? px(y) : ""]);
  });
  return line(HEADER) + lines.join("");
}

function distrustCsv() {
  const wrong = sortedDecisions().filter(([, , decision]) => decision.action === "wrong");
  return line(["row", "keypoint"]) + wrong.map(([row, k]) => line([row, bytesOf(data.names[k])])).join("");
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
  if (!header || header.join() !== HEADER.join())
    throw new Error(`The file does not begin with ${HEADER.join()}.`);
  const numbers = new Map(data.names.map((name, k) => [bytesOf(name), k]));
  const found = lines.map(([row, name, action, x, y], i) => {
    const placed = action === "accepted" || action === "moved";
    const known = numbers.has(name) && /^\d+$/.test(row) && Number(row) < data.count;
    const numeric = placed && x !== "" && y !== "" && isFinite(x) && isFinite(y);
    if (!known || !(numeric || action === "rejected" || action === "wrong"))
      throw new Error(`Line ${i + 2} of the file does not fit this table.`);
    return [keyOf(Number(row), numbers.get(name)), placed ? { action, x: Number(x), y: Number(y) } : { action }];
  });
  for (const [key, decision] of found) decisions.set(key, decision);
  store();
  return found.length;
}
