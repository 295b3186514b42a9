// Which part of the picture is shown, and what pointers do: a point is dragged, the picture is panned, two
// fingers or the wheel zoom at the place where they are.

const REACH = 16; // screen px: how near to a point a press has to be
const CLOSE_UP = 3;
const CLOSEST = 24;
const STEP = 1.5; // of the keys
const zoom = { scale: 1, x: 0, y: 0 }; // the shown part's middle, in table px; it has no say at scale 1

const within = (value, low, high) => Math.min(Math.max(value, low), high);

/** Left, top, width and height of what is shown of a row, in table px. */
function shownBox(row) {
  const [left, top, across, along] = whole(row);
  const [width, height] = [across / zoom.scale, along / zoom.scale];
  zoom.x = within(zoom.x, left + width / 2, left + across - width / 2);
  zoom.y = within(zoom.y, top + height / 2, top + along - height / 2);
  return [zoom.x - width / 2, zoom.y - height / 2, width, height];
}

/** Zoom so that a place keeps where it is on the screen. */
function zoomBy(factor, at) {
  if (!shownRow()) return;
  const scale = within(zoom.scale * factor, 1, CLOSEST);
  zoom.x = at.x + (zoom.x - at.x) * (zoom.scale / scale);
  zoom.y = at.y + (zoom.y - at.y) * (zoom.scale / scale);
  zoom.scale = scale;
  showZoom();
}

/** Show the whole picture (scale 1), or a part with a place in its middle. */
function zoomTo(scale, { x, y } = zoom) {
  Object.assign(zoom, { scale, x, y });
  showZoom();
}

function panBy(dx, dy) {
  zoom.x -= dx * unit();
  zoom.y -= dy * unit();
  preview();
}

/** Where the chosen point is out of sight, or always if it `must`, it goes to the middle. */
function bringInSight(must = false) {
  const point = chosenPoint();
  if (!point || zoom.scale === 1) return;
  const { x, y } = placeOf(shownRow(), point);
  const [left, top, width, height] = shownBox(shownRow());
  const inside = x > left && x < left + width && y > top && y < top + height;
  if (must || !inside) Object.assign(zoom, { x, y });
}

/** The chosen point's place: that is where keys and buttons zoom. */
function chosenPlace() {
  const point = chosenPoint();
  return point ? placeOf(shownRow(), point) : { x: zoom.x, y: zoom.y };
}

function showZoom() {
  const close = zoom.scale > 1;
  element("zoom").setAttribute("aria-pressed", close);
  picture.classList.toggle("close", close);
  if (shownRow()) preview();
}

picture.addEventListener("wheel", (event) => {
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
  const delta = event.deltaY * lines;
  if (delta > 0 && zoom.scale === 1) return; // nothing to zoom out of: the page scrolls
  event.preventDefault();
  // A pinch on a touchpad comes as a wheel with Ctrl, in smaller steps.
  zoomBy(Math.exp(-delta * (event.ctrlKey ? 0.01 : 0.002)), placeOnTable(event));
}, { passive: false });

// -- pointers ----------------------------------------------------------------------------------------

let dragged = null; // a point
let panned = false;
const pointers = new Map(); // those that are down, where they were last

function placeOnTable({ clientX, clientY }) {
  const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(picture.getScreenCTM().inverse());
  return { x, y };
}

picture.addEventListener("pointerdown", (event) => {
  if (event.button > 1 || !shownRow()) return;
  event.preventDefault();
  pointers.set(event.pointerId, event);
  picture.setPointerCapture(event.pointerId);
  const was = dragged;
  dragged = null;
  panned = pointers.size === 1;
  if (pointers.size > 1) {
    if (was) show(); // a second finger: this is no drag of a point
  } else if (event.button === 0 && !hidden) pick(event);
});

/** Choose the point at a pointer, if there is one, and begin to drag it. */
function pick(event) {
  const row = shownRow(), from = placeOnTable(event), u = unit();
  const far = row.points.map((point) => {
    const { x, y } = placeOf(row, point);
    return Math.hypot(x - from.x, y - from.y) / u;
  });
  const nearest = far.indexOf(Math.min(...far));
  if (nearest < 0 || far[nearest] > REACH) return;
  select(nearest);
  panned = false;
  if (row.points[nearest].label) return; // labels stay where they are; w marks one as wrong
  const start = placeOf(row, row.points[nearest]);
  dragged = { point: row.points[nearest], dx: start.x - from.x, dy: start.y - from.y, moved: false };
}

picture.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  if (pointers.size === 2) pinch(before, event);
  else if (panned) panBy(event.clientX - before.clientX, event.clientY - before.clientY);
  else if (dragged) {
    const { x, y } = placeOnTable(event);
    dragged.moved = true;
    dragged.to = { x: x + dragged.dx, y: y + dragged.dy };
    preview();
  }
  pointers.set(event.pointerId, event);
});

/** One of two fingers went from `before` to `now`: zoom by how far they are apart, pan by their middle. */
function pinch(before, now) {
  const [other] = [...pointers.values()].filter((pointer) => pointer.pointerId !== now.pointerId);
  const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
  const middle = { clientX: (before.clientX + other.clientX) / 2, clientY: (before.clientY + other.clientY) / 2 };
  zoomBy(apart(now) / Math.max(apart(before), 1), placeOnTable(middle));
  panBy((now.clientX - before.clientX) / 2, (now.clientY - before.clientY) / 2);
}

for (const end of ["pointerup", "pointercancel"]) {
  picture.addEventListener(end, (event) => {
    pointers.delete(event.pointerId);
    panned = false;
    if (!dragged) return;
    const { point, moved, to } = dragged;
    dragged = null;
    if (moved && event.type === "pointerup") moveTo(point, to);
    else show();
  });
}
