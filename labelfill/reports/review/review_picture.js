// The enlarged picture with its points; a point is dragged with mouse, pen or finger.

const SVG = "http://www.w3.org/2000/svg";
const picture = document.getElementById("picture");
const REACH = 16; // screen px: how near to a point a press has to be
const ZOOM = 3;
const view = { zoomed: false, hidden: false };
let seen = []; // what of the table's px is shown; it stays while a point is dragged

function shape(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Table px per screen px. */
function unit() {
  return 1 / (picture.getScreenCTM()?.a || 1);
}

const cross = (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;
const diamond = (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`;
const square = (x, y, r) => `M${x - r} ${y - r}H${x + r}V${y + r}H${x - r}Z`;

/** A marker of a state, u px of the table per screen px; each has a shape and a colour of its own. */
function marker(state, x, y, u) {
  const paths = {
    label: [["circle"]],
    fill: [["open", diamond(x, y, 6 * u)]],
    accepted: [["solid", diamond(x, y, 6.5 * u)]],
    moved: [["solid", square(x, y, 5 * u)]],
    rejected: [["open", cross(x, y, 6 * u)]],
    wrong: [["circle"], ["open", cross(x, y, 8 * u)]],
  }[state];
  const group = shape("g", { class: "marker " + state });
  for (const [kind, d] of paths) {
    const drawn = (role) =>
      kind === "circle" ? shape("circle", { cx: x, cy: y, r: 4 * u, class: role })
                        : shape("path", { d, class: kind + " " + role });
    group.append(drawn("outline"), drawn("ink"));
  }
  return group;
}

/** Draw a row with its points; `selected` is the number of a point. */
function draw(row, selected) {
  const chosen = row.points[selected];
  const at = chosen && placeOf(row, chosen);
  const [x, y, width, height] = row.box; // of the picture, in px of this row's table
  picture.setAttribute("viewBox", (view.zoomed && at ? closeUp(row, at) : whole(row)).join(" "));
  const u = unit();
  const image = { href: row.picture, x, y, width, height, preserveAspectRatio: "none" };
  const drawn = [shape("image", image)];
  if (!view.hidden) {
    for (const point of row.points) if (point.radius) drawn.push(...circle(row, point, point === chosen));
    for (const point of row.points) drawn.push(...mark(row, point, u));
    if (at) drawn.push(shape("circle", { cx: at.x, cy: at.y, r: 11 * u, class: "ring" }), tag(chosen, at, u));
  }
  picture.replaceChildren(...drawn);
}

function closeUp({ box: [, , width, height] }, { x, y }) {
  return [x - width / ZOOM / 2, y - height / ZOOM / 2, width / ZOOM, height / ZOOM];
}

/** The picture, and a little beyond it where points lie off the image; never more than half as much again. */
function whole(row) {
  if (dragged) return seen;
  const [x, y, width, height] = row.box;
  const reach = (low, size, places) => {
    const off = places.filter((at) => at < low || at > low + size);
    const margin = off.length ? size / 20 : 0;
    const from = Math.max(Math.min(low, ...off) - margin, low - size / 2);
    return [from, Math.min(Math.max(low + size, ...off) + margin, low + 1.5 * size) - from];
  };
  const places = row.points.map((point) => placeOf(row, point));
  const [left, across] = reach(x, width, places.map((at) => at.x));
  const [top, along] = reach(y, height, places.map((at) => at.y));
  seen = [left, top, across, along];
  return seen;
}

function circle(row, point, chosen) {
  if (decisionOn(row.row, point.k)) return []; // what a person has decided is no longer in doubt
  return ["outline", "ink"].map((role) =>
    shape("circle", { cx: point.x, cy: point.y, r: point.radius, class: `radius ${role}${chosen ? " chosen" : ""}` }));
}

function mark(row, point, u) {
  const { x, y } = placeOf(row, point);
  const state = stateOf(row, point);
  const drawn = [];
  if (state === "moved" && !point.label) {
    drawn.push(shape("line", { x1: point.x, y1: point.y, x2: x, y2: y, class: "way" }));
  }
  const made = marker(state, x, y, u);
  const title = shape("title", {});
  title.textContent = `${point.shown}: ${WORDS[state]}`;
  made.append(title);
  drawn.push(made);
  return drawn;
}

function tag(point, { x, y }, u) {
  const box = picture.viewBox.baseVal;
  const left = x > box.x + box.width / 2;
  const name = shape("text", {
    x: x + (left ? -15 : 15) * u, y: y - 9 * u, "font-size": 13 * u, "stroke-width": 3.5 * u,
    "text-anchor": left ? "end" : "start", class: "name",
  });
  name.textContent = point.shown;
  return name;
}

// -- dragging ----------------------------------------------------------------------------------------

let dragged = null;

function pointerPlace(event) {
  const inverse = picture.getScreenCTM().inverse();
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(inverse);
  return { x, y };
}

picture.addEventListener("pointerdown", (event) => {
  if (event.button || view.hidden) return;
  const row = shownRow();
  if (!row) return;
  const from = pointerPlace(event);
  const u = unit();
  const far = row.points.map((point) => {
    const { x, y } = placeOf(row, point);
    return Math.hypot(x - from.x, y - from.y) / u;
  });
  const nearest = far.indexOf(Math.min(...far));
  if (nearest < 0 || far[nearest] > REACH) return;
  event.preventDefault();
  select(nearest);
  if (row.points[nearest].label) return; // labels stay where they are; w marks one as wrong
  const start = placeOf(row, row.points[nearest]);
  dragged = { point: row.points[nearest], dx: start.x - from.x, dy: start.y - from.y, moved: false };
  picture.setPointerCapture(event.pointerId);
});

picture.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const { x, y } = pointerPlace(event);
  dragged.moved = true;
  dragged.to = { x: x + dragged.dx, y: y + dragged.dy };
  preview(dragged.point, dragged.to);
});

for (const end of ["pointerup", "pointercancel"]) {
  picture.addEventListener(end, (event) => {
    if (!dragged) return;
    const { point, moved, to } = dragged;
    dragged = null;
    if (moved && event.type === "pointerup") moveTo(point, to);
    else show();
  });
}
