// The enlarged picture with its points.

const SVG = "http://www.w3.org/2000/svg";
const picture = document.getElementById("picture");
let hidden = false; // whether points are
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

// The pictures of the row that is shown and of those beside it, decoded before they are looked at.
const pictures = new Map();

function pictureOf(row) {
  if (!pictures.has(row)) {
    const [x, y, width, height] = row.box; // of the picture, in px of this row's table
    const place = { x, y, width, height, preserveAspectRatio: "none" };
    pictures.set(row, shape("image", { href: row.picture, ...place }));
  }
  return pictures.get(row);
}

function decodeAhead(wanted) {
  for (const row of pictures.keys()) if (!wanted.includes(row)) pictures.delete(row);
  for (const row of wanted) pictureOf(row).decode?.().catch(() => {}); // it is drawn anyway, only later
}

/** Draw a row with its points; `selected` is the number of a point. */
function draw(row, selected) {
  const chosen = row.points[selected];
  const at = chosen && placeOf(row, chosen);
  picture.setAttribute("viewBox", shownBox(row).join(" "));
  const u = unit();
  const drawn = [pictureOf(row)];
  if (!hidden) {
    for (const point of row.points) if (point.radius) drawn.push(...circle(row, point, point === chosen));
    for (const point of row.points) drawn.push(...mark(row, point, u));
    if (at) drawn.push(shape("circle", { cx: at.x, cy: at.y, r: 11 * u, class: "ring" }), tag(chosen, at, u));
  }
  picture.replaceChildren(...drawn);
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
