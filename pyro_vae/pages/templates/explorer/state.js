// State: the runs, the image that was encoded last, and one code for each run.

const content = JSON.parse(byId("content").textContent);
const shape = content.image_shape;

/** A run: its model, the codes of test images, and the component that matters most first. */
class Run {
  constructor(table) {
    Object.assign(this, table);
    this.network = new Model(table.model);
    this.latentDim = this.network.latentDim;
    const codes = numbersOf(table.codes);
    const starts = Array.from(
      { length: codes.length / this.latentDim },
      (_, n) => n * this.latentDim,
    );
    this.points = starts.map((start) => codes.slice(start, start + this.latentDim));
    this.order = table.importance
      .map((_, k) => k)
      .sort((a, b) => table.importance[b] - table.importance[a]);
    this.reach = Math.max(
      3,
      Math.ceil(1.1 * codes.reduce((most, z) => Math.max(most, Math.abs(z)), 0)),
    );
    this.code = new Float64Array(this.latentDim);
  }

  /** Return a code drawn from the prior, the standard Normal. */
  drawCode() {
    return this.code.map(normalDraw);
  }
}

/** Return a draw from the standard Normal, by the method of Box and Muller. */
function normalDraw() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** Return the test images to click, each colour by colour in [0, 1]. */
function galleryOf({ image_bytes, image_last_level }) {
  const values = bytesOf(image_bytes);
  const size = sizeOf(shape);
  const starts = Array.from({ length: values.length / size }, (_, n) => n * size);
  return starts.map((start) =>
    Float64Array.from(values.slice(start, start + size), (v) => v / image_last_level),
  );
}

const runs = content.runs.map((table) => new Run(table));
const gallery = galleryOf(content);
const state = {
  chosen: runs[0], // the run of the map and of the sliders
  image: null, // what was encoded last, with its name
  moved: false, // whether the codes have left it since
  ends: { A: null, B: null }, // a code for each run
};

const listeners = [];
let waiting = false;

/** Draw everything that depends on the codes before the screen's next frame. */
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const listener of listeners) listener();
  });
}

/** Encode an image in every run. */
function encodeImage(pixels, name, number = null) {
  state.image = { pixels, name, number };
  state.moved = false;
  for (const run of runs) run.code = run.network.encode(pixels);
  changed();
}

/** Give a run another code. */
function moveCode(run, code) {
  run.code = code;
  state.moved = true;
  changed();
}
