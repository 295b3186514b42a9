// What the page says of the row and the point that are looked at, and of how far the review is.

let saying = 0;
/** Say something for a while, or until something else is said. */
function say(text, stays = false) {
  const status = element("status");
  status.textContent = text;
  clearTimeout(saying);
  if (!stays) saying = setTimeout(() => { status.textContent = ""; }, 8000);
}

function show() {
  const row = shownRow();
  element("empty").hidden = Boolean(row);
  element("work").hidden = !row;
  element("counts").textContent = counts();
  showProgress();
  element("unsaved").hidden = kept;
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
  const convention = point.convention && `, ${point.convention}`;
  const doubt = point.label ? "" : `, filled by ${point.method} with radius ${point.radius.toFixed(1)} px${convention}`;
  const flags = point.flags ? `; ${point.flags.replaceAll(" ", ", ")}` : "";
  return `${point.shown}: ${WORDS[stateOf(row, point)]}${half} at ${x.toFixed(2)}, ${y.toFixed(2)}${doubt}${flags}`;
}

function showButtons(row) {
  const point = row.points[chosen];
  element("accept").disabled = element("reject").disabled = !point || point.label;
  element("wrong").disabled = !point?.observed;
  element("takeBack").disabled = !point || !decisionOn(row.row, point.k);
  element("acceptAll").disabled = !undecided(row).length;
}

function counts() {
  const made = [...decisions.values()];
  const parts = ["accepted", "moved", "rejected", "wrong"].map((action) => {
    return `${made.filter((decision) => decision.action === action).length} ${action}`;
  });
  return `decisions so far: ${parts.join(", ")}`;
}

function showProgress() {
  const fills = rows.reduce((sum, row) => sum + row.points.filter((point) => !point.label).length, 0);
  const open = rows.reduce((sum, row) => sum + undecided(row).length, 0);
  element("finished").max = Math.max(fills, 1);
  element("finished").value = fills - open;
  element("progress").textContent = `${fills - open} of ${fills} fills decided`;
  element("undo").disabled = !past.length;
  element("redo").disabled = !future.length;
}
