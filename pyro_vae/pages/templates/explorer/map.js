// The map: the codes of test images in a plane of the latent space, and the place of the code.

// A shape for each ten labels, as the path of a mark of radius 1 around 0, 0.
const MARKS = ["M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z", "M-.9-.9H.9V.9H-.9Z", "M0-1.1L1.1.9H-1.1Z"];

const map = {
  canvas: byId("map"),
  plane: null,
  only: null,
  background: null,
  scale: 1,
  middle: [0, 0],
};
const classes = [...new Set(content.labels ?? [])].sort((a, b) => a - b);
const turns = content.colors.length; // classes until a colour comes again, with another shape
const colorOf = (label) => content.colors[classes.indexOf(label) % turns];
const markOf = (label) => MARKS[Math.floor(classes.indexOf(label) / turns) % MARKS.length];

/** Return the two coordinates of a code in the plane of the map. */
const inPlane = (code) => map.plane.axes.map((axis) => dot(axis, code));

/** Return the place of test image n; where there is one component, heights spread the marks. */
function placeOf(point, n) {
  const place = inPlane(point);
  if (state.chosen.latentDim === 1) place[1] = ((n * 0.618) % 1) - 0.5; // multiples of it fill evenly
  return place;
}

/** Return the code with these coordinates in the plane, and the old ones outside it. */
function codeAt(place, code) {
  const moves = inPlane(code).map((old, k) => place[k] - old);
  const [one, other] = map.plane.axes;
  return code.map((z, k) => z + moves[0] * one[k] + moves[1] * other[k]);
}

function toScreen([x, y]) {
  const half = map.canvas.width / 2;
  return [half + (x - map.middle[0]) * map.scale, half - (y - map.middle[1]) * map.scale];
}

function toPlane(x, y) {
  const half = map.canvas.width / 2;
  return [map.middle[0] + (x - half) / map.scale, map.middle[1] - (y - half) / map.scale];
}

/** Choose the scale at which all codes fit; it is the same along both axes. */
function frameMap(places) {
  const ranges = [0, 1].map((k) => {
    const values = places.map((place) => place[k]);
    return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  });
  map.middle = ranges.map(([low, high]) => (low + high) / 2);
  const widest = Math.max(...ranges.map(([low, high]) => high - low), 1e-6);
  map.scale = map.canvas.width / (1.1 * widest);
}

const themed = (name) => getComputedStyle(document.body).getPropertyValue(name);

/** Draw the codes of the test images on a canvas of their own, which is kept until they change. */
function drawBackground() {
  const side = Math.round(map.canvas.clientWidth * devicePixelRatio);
  if (side === 0) return;
  [map.canvas.width, map.canvas.height] = [side, side];
  map.background = make("canvas", { width: side, height: side });
  const places = state.chosen.points.map(placeOf);
  frameMap(places);
  const context = map.background.getContext("2d");
  drawPrior(context);
  const radius = Math.max(2, side / (places.length > 800 ? 220 : 150));
  const order = places.map((_, n) => n).sort((a, b) => isLit(a) - isLit(b)); // lit ones on top
  for (const n of order) drawMark(context, places[n], radius, n);
  changed();
}

const isLit = (n) => Number(map.only === null || content.labels[n] === map.only);

/** Draw the axes, and the circles of one and two standard deviations of the prior. */
function drawPrior(context) {
  context.strokeStyle = themed("--soft");
  context.lineWidth = devicePixelRatio / 2;
  const [x, y] = toScreen([0, 0]);
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, map.canvas.height);
  context.moveTo(0, y);
  context.lineTo(map.canvas.width, y);
  context.stroke();
  if (!state.chosen.has_rate || state.chosen.latentDim === 1) return;
  for (const deviations of [1, 2]) {
    context.beginPath();
    context.arc(x, y, deviations * map.scale, 0, 2 * Math.PI);
    context.stroke();
  }
}

function drawMark(context, place, radius, n) {
  const [x, y] = toScreen(place);
  const label = content.labels?.[n];
  const mark = new Path2D();
  const size = new DOMMatrix([radius, 0, 0, radius, x, y]);
  mark.addPath(new Path2D(label === undefined ? MARKS[0] : markOf(label)), size);
  context.globalAlpha = isLit(n) ? 0.8 : 0.08;
  context.fillStyle = label === undefined ? themed("--blue") : colorOf(label);
  context.fill(mark);
  context.globalAlpha = 1;
}

/** Draw the kept background, and a ring at the place of the code. */
function drawMap() {
  if (!map.background) return;
  const context = map.canvas.getContext("2d");
  context.clearRect(0, 0, map.canvas.width, map.canvas.height);
  context.drawImage(map.background, 0, 0);
  const [x, y] = toScreen(inPlane(state.chosen.code)).map((v) => clamp(v, 0, map.canvas.width));
  for (const [color, width] of [
    ["--page", 6],
    ["--ink", 2.5],
  ]) {
    context.strokeStyle = themed(color);
    context.lineWidth = width * devicePixelRatio;
    context.beginPath();
    context.arc(x, y, 8 * devicePixelRatio, 0, 2 * Math.PI);
    context.stroke();
  }
}

function movePlace(place) {
  moveCode(state.chosen, codeAt(place, state.chosen.code));
}

function followPointer(event) {
  if (event.type === "pointermove" && event.buttons === 0) return;
  if (event.type === "pointerdown") map.canvas.setPointerCapture(event.pointerId);
  const box = map.canvas.getBoundingClientRect();
  const ratio = map.canvas.width / box.width;
  movePlace(toPlane((event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio));
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function followArrows(event) {
  const arrow = ARROWS[event.key];
  if (!arrow) return;
  event.preventDefault();
  const step = map.canvas.width / map.scale / 60; // of sixty from side to side
  movePlace(inPlane(state.chosen.code).map((v, k) => v + step * arrow[k]));
}

/** Offer the planes of the chosen run. */
function showPlanes() {
  const choices = state.chosen.planes.map((plane, k) =>
    make("option", { value: k, textContent: plane.name }),
  );
  byId("plane").replaceChildren(...choices);
  choosePlane(0);
}

function choosePlane(number) {
  map.plane = state.chosen.planes[number];
  byId("map-caption").textContent = `${map.plane.words} ${wordsOfMap(state.chosen)}`;
  drawBackground();
}

function wordsOfMap(run) {
  if (run.latentDim === 1)
    return "There is one component, from left to right; height means nothing.";
  return run.has_rate ? "The circles are one and two standard deviations of the prior." : "";
}

/** Show one label alone, or all of them again. */
function light(label) {
  map.only = map.only === label ? null : label;
  for (const button of byId("legend").children) {
    button.setAttribute("aria-pressed", Number(button.value) === map.only && map.only !== null);
  }
  drawBackground();
}

function showLegend() {
  for (const label of classes) {
    const button = make("button", { value: label, onclick: () => light(label) });
    button.innerHTML = `<svg viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true"><path d="${markOf(label)}"/></svg>`;
    button.querySelector("path").style.fill = colorOf(label);
    button.setAttribute("aria-label", `show label ${label} alone`);
    button.setAttribute("aria-pressed", false);
    button.append(label);
    byId("legend").append(button);
  }
}

function startMap() {
  showLegend();
  showPlanes();
  byId("plane").onchange = (event) => choosePlane(Number(event.target.value));
  map.canvas.onpointerdown = map.canvas.onpointermove = followPointer;
  map.canvas.onkeydown = followArrows;
  new ResizeObserver(drawBackground).observe(map.canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawBackground);
  listeners.push(drawMap);
}
