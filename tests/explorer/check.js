// Asks the page's own functions and controls, and writes their answers for the test to read.

const asked = JSON.parse(byId("asked").textContent);
const plain = (numbers) => Array.from(numbers);

/** What the networks of a model give for images and codes. */
function askModel({ model, images, codes }) {
  const network = new Model(model);
  return {
    encoded: images.map((image) => plain(network.encode(image))),
    decoded: codes.map((code) => plain(network.decode(code))),
  };
}

/** The expected values that a family gives for outputs of a decoder. */
function askLikelihood({ likelihood, outputs, colors, pixels }) {
  const numbers = {};
  for (const [name, text] of Object.entries(likelihood.numbers)) numbers[name] = numbersOf(text);
  const about = { ...likelihood, numbers, colors, pixels };
  return outputs.map((channels) => {
    const value = EXPECTED[likelihood.family](Float64Array.from(channels), about);
    return Array.from({ length: colors * pixels }, (_, k) => value(k));
  });
}

/** Draw the page as it is now, and give the pixels of a canvas, 0 to 255, one number each. */
function pixelsOf(canvas) {
  for (const listener of listeners) listener();
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return plain(data).filter((_, k) => k % 4 === 0);
}

function situation() {
  return {
    codes: runs.map((run) => plain(run.code)),
    pixels: stages.map(({ canvas }) => pixelsOf(canvas)),
  };
}

/** Send a pointer to a place on a canvas, as a part of its width and height. */
function point(canvas, type, x, y) {
  canvas.setPointerCapture = () => {}; // it refuses pointers that are no device's
  const box = canvas.getBoundingClientRect();
  const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
  canvas.dispatchEvent(new PointerEvent(type, { ...place, buttons: 1, pointerId: 1 }));
}

function press(element, key) {
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}

function set(input, value) {
  input.value = value;
  input.dispatchEvent(new Event("input"));
}

/** Use every control once, and say what the page then shows. */
function operate() {
  const seen = {};
  byId("gallery").children[3].click();
  seen.image = situation();
  byId("keep-a").click();
  byId("gallery").children[5].click();
  byId("keep-b").click();
  set(byId("t"), 0.25);
  seen.line = situation();
  document.querySelector("input[value=arc]").click();
  seen.arc = situation();
  set(sliders[1].slider, -1.5);
  seen.slider = situation();
  point(map.canvas, "pointerdown", 0.25, 0.75);
  seen.map = {
    ...situation(),
    place: toPlane(map.canvas.width / 4, 0.75 * map.canvas.width),
    axes: map.plane.axes,
  };
  press(map.canvas, "ArrowRight");
  seen.arrow = situation();
  byId("origin").click();
  seen.origin = situation();
  byId("clear").click();
  point(pad.canvas, "pointerdown", 0.3, 0.3);
  point(pad.canvas, "pointermove", 0.7, 0.7);
  seen.drawing = { ...situation(), image: plain(pad.pixels) };
  press(pad.canvas, "ArrowUp");
  press(pad.canvas, " ");
  seen.painted = plain(pad.pixels);
  seen.chosen = byId("stage").querySelectorAll("input").length;
  byId("stage").querySelectorAll("input")[1]?.click();
  seen.importance = state.chosen.importance;
  seen.sliders = [...byId("sliders").querySelectorAll("input")].map((slider) => slider.id);
  seen.inactive = [...byId("inactive-sliders").querySelectorAll("input")].map(
    (slider) => slider.id,
  );
  seen.legend = byId("legend").textContent;
  return seen;
}

/** The reds, greens and blues, 0 to 255, of an image on a canvas of its own. */
function askPicture({ image, shape }) {
  const canvas = fit(make("canvas"), shape);
  paint(canvas, Float64Array.from(image), shape);
  return plain(canvas.getContext("2d").getImageData(0, 0, shape[2], shape[1]).data).filter(
    (_, k) => k % 4 < 3,
  );
}

function answer() {
  return {
    pictures: asked.pictures.map(askPicture),
    numbers: plain(numbersOf(asked.numbers)),
    models: asked.models.map(askModel),
    likelihoods: asked.likelihoods.map(askLikelihood),
    page: operate(),
    milliseconds: decodingTimes(5),
  };
}

function checked() {
  try {
    return answer();
  } catch (error) {
    return { error: `${error}\n${error.stack}` };
  }
}

document.body.append(make("pre", { id: "check", textContent: JSON.stringify(checked()) }));
