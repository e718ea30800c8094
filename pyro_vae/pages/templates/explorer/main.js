// The page: the stage with the image and what each run makes of it, and the gallery.

const stages = []; // for each run, its canvas and the words under it

function choose(run) {
  state.chosen = run;
  stages.forEach(({ label }, n) => label.classList.toggle("chosen", runs[n] === run));
  showSliders();
  showPlanes();
}

/** Return the title of a run; among several it is a button that chooses the run. */
function titleOf(run) {
  if (runs.length === 1) return make("span", { textContent: "decoded" });
  const radio = make("input", {
    type: "radio",
    name: "run",
    checked: run === state.chosen,
    onchange: () => choose(run),
  });
  return make("label", {}, radio, ` ${run.title}`);
}

function makeStage(run) {
  const canvas = fit(make("canvas"), shape);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `decoded by ${run.title}`);
  const [label, error] = [titleOf(run), make("div")];
  label.classList.toggle("chosen", runs.length > 1 && run === state.chosen);
  stages.push({ canvas, label, error });
  byId("stage").append(make("figure", {}, canvas, make("figcaption", {}, label, error)));
}

function drawStage() {
  const { pixels, name } = state.image;
  byId("image").classList.toggle("moved", state.moved);
  byId("image-caption").textContent = state.moved ? `the code has left ${name}` : name;
  paint(byId("image"), pixels, shape);
  runs.forEach((run, n) => drawRun(run, stages[n]));
}

/** Decode and paint a run's code, if it is another one than before. */
function drawRun(run, stage) {
  if (stage.code !== run.code) {
    stage.image = run.network.decode(run.code);
    stage.code = run.code;
    paint(stage.canvas, stage.image, shape);
  }
  const error = rootMeanSquare(stage.image, state.image.pixels).toFixed(3);
  stage.error.textContent = state.moved ? "" : `error ${error}`;
}

function nameOf(n) {
  const label = content.image_labels ? `, label ${content.image_labels[n]}` : "";
  return `test image ${content.image_numbers[n]}${label}`;
}

function makeGallery() {
  gallery.forEach((image, n) => {
    const canvas = fit(make("canvas"), shape);
    paint(canvas, image, shape);
    const button = make(
      "button",
      { title: nameOf(n), onclick: () => encodeImage(image, nameOf(n), n) },
      canvas,
    );
    button.setAttribute("aria-label", nameOf(n));
    byId("gallery").append(button);
  });
}

function drawGallery() {
  const shown = state.moved ? null : state.image.number;
  [...byId("gallery").children].forEach((button, n) =>
    button.setAttribute("aria-pressed", n === shown),
  );
}

/** Return the median time of decoding a random code and painting it, in milliseconds, by run. */
function decodingTimes(repeats = 50) {
  return runs.map((run, n) => {
    const times = Array.from({ length: repeats }, () => {
      const start = performance.now();
      paint(stages[n].canvas, run.network.decode(run.drawCode()), shape);
      return performance.now() - start;
    });
    return times.sort((a, b) => a - b)[repeats >> 1];
  });
}

function startPage() {
  fit(byId("image"), shape);
  byId("stage").style.setProperty("--count", runs.length + 1);
  runs.forEach(makeStage);
  makeGallery();
  listeners.push(drawStage, drawGallery);
  startMap();
  startSliders();
  startPath();
  startPad();
  byId("origin").onclick = () =>
    runs.forEach((run) =>
      moveCode(
        run,
        run.code.map(() => 0),
      ),
    );
  byId("draw-code").onclick = () => runs.forEach((run) => moveCode(run, run.drawCode()));
  byId("smooth").onchange = (event) =>
    document.body.classList.toggle("smooth", event.target.checked);
  encodeImage(gallery[0], nameOf(0), 0);
}

startPage();
