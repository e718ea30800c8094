// Models: an encoder from images to codes, and a decoder from codes to expected images.

class Model {
  constructor(description) {
    const [colors, height, width] = description.image_shape;
    this.shape = description.image_shape;
    this.latentDim = description.latent_dim;
    this.encoder = buildNetwork(description.encoder, this.shape);
    this.decoder = buildNetwork(description.decoder, [this.latentDim]);
    const numbers = {};
    for (const [name, text] of Object.entries(description.likelihood.numbers))
      numbers[name] = numbersOf(text);
    this.about = { ...description.likelihood, numbers, colors, pixels: height * width };
  }

  /** Return the posterior mean of an image, a new array of latentDim numbers. */
  encode(image) {
    return this.encoder(image).slice(0, this.latentDim);
  }

  /** Return the expected image of a code, a new array of pixels clamped to [0, 1]. */
  decode(code) {
    const value = EXPECTED[this.about.family](this.decoder(code), this.about);
    const image = new Float64Array(sizeOf(this.shape));
    for (let k = 0; k < image.length; k++) image[k] = clamp(value(k), 0, 1);
    return image;
  }
}

const dot = (a, b) => a.reduce((sum, x, k) => sum + x * b[k], 0);

/** The two paths from a code to another, t from 0 to 1. */
const PATHS = {
  line: (a, b, t) => a.map((x, k) => (1 - t) * x + t * b[k]),
  arc(a, b, t) {
    const [lengthA, lengthB] = [a, b].map((v) => Math.max(Math.sqrt(dot(v, v)), 1e-12));
    const cosine = clamp(dot(a, b) / (lengthA * lengthB), -1, 1);
    const angle = Math.max(Math.acos(cosine), 1e-4); // a smaller arc is a straight line
    const sine = Math.max(Math.sin(angle), 1e-12);
    const [partA, partB] = [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
    const length = (1 - t) * lengthA + t * lengthB;
    return a.map((x, k) => length * ((partA * x) / lengthA + (partB * b[k]) / lengthB));
  },
};
