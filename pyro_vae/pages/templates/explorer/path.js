// The path from A to B: nine steps in each run, and a slider between them.

const STEPS = 9;
const strips = []; // for each run, the canvases of its steps

const pathName = () => document.querySelector("input[name=path]:checked").value;

function codeBetween(n, t) {
  return PATHS[pathName()](state.ends.A[n], state.ends.B[n], t);
}

/** Draw the steps of every run. */
function drawSteps() {
  strips.forEach((canvases, n) => {
    canvases.forEach((canvas, k) =>
      paint(canvas, runs[n].network.decode(codeBetween(n, k / (STEPS - 1))), shape),
    );
  });
}

/** Give every run the code at the slider's place. */
function movePath() {
  const t = Number(byId("t").value);
  runs.forEach((run, n) => moveCode(run, codeBetween(n, t)));
}

/** Go along the other kind of path. */
function changePath() {
  drawSteps();
  movePath();
}

/** Keep the codes of all runs as one end of the path. */
function keepAs(end) {
  state.ends[end] = runs.map((run) => run.code);
  byId("t").value = end === "A" ? 0 : 1;
  drawSteps();
}

function makeStrip(run) {
  const canvases = Array.from({ length: STEPS }, (_, k) => {
    const canvas = fit(make("canvas", { onclick: () => moveTo(k / (STEPS - 1)) }), shape);
    canvas.setAttribute("aria-hidden", true); // the slider says and does the same
    return canvas;
  });
  strips.push(canvases);
  const title = runs.length > 1 ? [make("div", { className: "look", textContent: run.title })] : [];
  byId("strips").append(...title, make("div", { className: "steps" }, ...canvases));
}

function moveTo(t) {
  byId("t").value = t;
  movePath();
}

function startPath() {
  runs.forEach(makeStrip);
  const last = gallery[Math.min(1, gallery.length - 1)];
  state.ends.A = runs.map((run) => run.network.encode(gallery[0]));
  state.ends.B = runs.map((run) => run.network.encode(last));
  drawSteps();
  byId("t").oninput = movePath;
  byId("keep-a").onclick = () => keepAs("A");
  byId("keep-b").onclick = () => keepAs("B");
  for (const radio of document.querySelectorAll("input[name=path]")) radio.onchange = changePath;
}
