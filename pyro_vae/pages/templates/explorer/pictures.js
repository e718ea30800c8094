// Pictures: images as pixels of a canvas, and small canvases made of them.

const byId = (name) => document.getElementById(name);

/** Make an element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** Give a canvas the resolution of images of this shape. */
function fit(canvas, [, height, width]) {
  [canvas.width, canvas.height] = [width, height];
  canvas.classList.add("pixels");
  canvas.style.aspectRatio = `${width} / ${height}`;
  return canvas;
}

/** Paint an image, colour by colour in [0, 1], onto a canvas of its resolution. */
function paint(canvas, image, [colors, height, width]) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const area = height * width;
  for (let pixel = 0; pixel < area; pixel++) {
    for (let c = 0; c < 3; c++) {
      const color = colors === 3 ? c : 0; // images of other numbers of colours show their first
      picture.data[4 * pixel + c] = Math.round(255 * image[color * area + pixel]);
    }
    picture.data[4 * pixel + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** Return the root mean squared difference of two images. */
function rootMeanSquare(a, b) {
  return Math.sqrt(a.reduce((sum, x, k) => sum + (x - b[k]) ** 2, 0) / a.length);
}
