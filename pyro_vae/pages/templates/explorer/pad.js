// The pad: an image of the data's resolution to draw on.

const pad = {
  canvas: byId("pad"),
  pixels: new Float64Array(sizeOf(shape)),
  last: null,
  cursor: null,
  fresh: true,
};

/** Return the colour of the brush, one number in [0, 1] for each colour of the data. */
function brushColor() {
  if (shape[0] !== 3) return new Array(shape[0]).fill(1);
  const text = byId("color").value;
  return [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16) / 255);
}

/** Return a pixel on the data's own grey levels. */
function onGrid(value) {
  const last = content.levels === null ? 255 : content.levels - 1;
  return Math.round(value * last) / last;
}

/** Paint a soft dot around a place in pixels. */
function dab(x, y) {
  const [, height, width] = shape;
  const radius = Number(byId("brush").value);
  const color = brushColor();
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
      const cover = clamp(radius + 0.5 - distance, 0, 1);
      if (cover > 0) blend(row * width + column, cover, color);
    }
  }
}

/** Cover a part of a pixel with the colour; grey strokes only ever brighten. */
function blend(pixel, cover, color) {
  const area = shape[1] * shape[2];
  color.forEach((value, c) => {
    const old = pad.pixels[c * area + pixel];
    const mixed = shape[0] === 3 ? old + cover * (value - old) : Math.max(old, cover * value);
    pad.pixels[c * area + pixel] = onGrid(mixed);
  });
}

/** Paint from the last place to a new one. */
function stroke(x, y) {
  const [startX, startY] = pad.last ?? [x, y];
  const dabs = Math.ceil(2 * Math.hypot(x - startX, y - startY)) + 1;
  for (let k = 1; k <= dabs; k++)
    dab(startX + ((x - startX) * k) / dabs, startY + ((y - startY) * k) / dabs);
  pad.last = [x, y];
  showDrawing();
}

function showDrawing() {
  pad.fresh = true;
  encodeImage(pad.pixels.slice(), "your drawing");
}

function drawPad() {
  paint(pad.canvas, pad.pixels, shape);
  if (pad.fresh)
    paint(byId("pad-result"), runs[0].network.decode(runs[0].network.encode(pad.pixels)), shape);
  pad.fresh = false;
  if (pad.cursor === null) return;
  const context = pad.canvas.getContext("2d");
  context.fillStyle = themed("--orange");
  context.fillRect(pad.cursor[0], pad.cursor[1], 1, 1);
}

function followBrush(event) {
  if (event.type === "pointermove" && event.buttons === 0) return;
  if (event.type === "pointerdown") {
    pad.canvas.setPointerCapture(event.pointerId);
    pad.last = pad.cursor = null;
  }
  const box = pad.canvas.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  stroke(x * shape[2], y * shape[1]);
}

function followKeys(event) {
  const arrow = ARROWS[event.key];
  if (!arrow && event.key !== " ") return;
  event.preventDefault();
  const [column, row] = pad.cursor ?? [shape[2] >> 1, shape[1] >> 1];
  const [right, up] = arrow ?? [0, 0];
  pad.cursor = [clamp(column + right, 0, shape[2] - 1), clamp(row - up, 0, shape[1] - 1)];
  pad.last = null;
  if (arrow) changed();
  else stroke(column + 0.5, row + 0.5);
}

function clearPad() {
  pad.pixels.fill(0);
  showDrawing();
}

function takeImage() {
  pad.pixels.set(state.image.pixels);
  showDrawing();
}

function hideCursor() {
  pad.cursor = null;
  changed();
}

function startPad() {
  for (const canvas of [pad.canvas, byId("pad-result")]) fit(canvas, shape);
  byId("color-label").hidden = shape[0] !== 3;
  byId("brush").value = clamp(Math.min(shape[1], shape[2]) / 28, 0.5, 3);
  byId("clear").onclick = clearPad;
  byId("take").onclick = takeImage;
  pad.canvas.onpointerdown = pad.canvas.onpointermove = followBrush;
  pad.canvas.onkeydown = followKeys;
  pad.canvas.onblur = hideCursor;
  listeners.push(drawPad);
}
