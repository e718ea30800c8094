// Numbers: how the data of the page are read, and the functions that likelihoods are made of.

/** Return the bytes of a base64 text. */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Return the numbers of a base64 text of float32, in the byte order of all browsers. */
function numbersOf(text) {
  return new Float32Array(bytesOf(text).buffer);
}

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const softclip = (x, low, high) => low + softplus(x - low) - softplus(x - high);

const LOG_SCALES = [Math.log(1e-3), Math.log(1e3)];
const boundedScale = (raw) => Math.exp(softclip(raw + Math.log(0.25), ...LOG_SCALES));

const LOG_CONCENTRATIONS = [Math.log(1e-2), Math.log(1e4)];
const boundedConcentration = (raw) => Math.exp(softclip(raw, ...LOG_CONCENTRATIONS));

/**
 * Return the complementary error function to 1.5e-7.
 * Source: Abramowitz and Stegun, "Handbook of mathematical functions", 1964, formula 7.1.26.
 */
function erfc(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)));
  const tail = t * series * Math.exp(-x * x);
  return x < 0 ? 2 - tail : tail;
}

// P(T > t) of standard distributions, and the |t| from where on they are 0 or 1 to rounding.
const normalTail = { beyond: (t) => erfc(t / Math.SQRT2) / 2, reach: 8 };
const laplaceTail = {
  beyond: (t) => (t > 0 ? Math.exp(-t) / 2 : 1 - Math.exp(t) / 2),
  reach: 37,
};
const studentTail = {
  beyond(t) {
    const s = t / Math.sqrt(3);
    return 0.5 - (s / (1 + s * s) + Math.atan(s)) / Math.PI;
  },
  reach: Infinity,
};

/**
 * Return the mean over the grey levels v / (levels - 1) of a distribution's bins.
 * It is the sum over the edges between bins of the probability beyond each, over levels - 1.
 */
function meanOverLevels(tail, loc, scale, levels) {
  const last = levels - 1;
  const [first, end] = edgesWithin(loc, tail.reach * scale, levels);
  let sum = first - 1; // the edges before the first one have probability 1 beyond them
  for (let v = first; v <= end; v++) sum += tail.beyond(((v - 0.5) / last - loc) / scale);
  return sum / last;
}

/** Return the first and the last of the edges 1 to levels - 1 that are this close to a location. */
function edgesWithin(loc, distance, levels) {
  const last = levels - 1;
  const first = clamp(Math.ceil((loc - distance) * last + 0.5), 1, levels);
  return [first, clamp(Math.floor((loc + distance) * last + 0.5), 0, last)];
}

/**
 * Return the same mean for the logistic distribution, whose P(T > t) is 1 / (1 + exp(t)).
 * The exponential grows by one factor from edge to edge, so that two are computed, and not hundreds.
 */
function logisticMeanOverLevels(loc, scale, levels) {
  const last = levels - 1;
  const [first, end] = edgesWithin(loc, 37 * scale, levels); // beyond it is 0 or 1 to rounding
  const factor = Math.exp(1 / (last * scale));
  let growing = Math.exp(((first - 0.5) / last - loc) / scale);
  let sum = first - 1;
  for (let v = first; v <= end; v++, growing *= factor) sum += 1 / (1 + growing);
  return sum / last;
}

/** Return the mean over the grey levels of a distribution on [0, 1] that is cut into equal bins. */
function meanOverEqualBins(beyond, levels) {
  let sum = 0;
  for (let v = 1; v < levels; v++) sum += beyond(v / levels);
  return sum / (levels - 1);
}

/** Return the mean of the density proportional to exp(logit y) on [0, 1]. */
function continuousBernoulliMean(logit) {
  if (Math.abs(logit) < 1e-2) return 0.5 + logit / 12 - logit ** 3 / 720; // else digits cancel
  return 1 / -Math.expm1(-logit) - 1 / logit;
}

/** Return P(Y > y) for the density proportional to exp(logit y) on [0, 1]. */
function continuousBernoulliBeyond(logit, y) {
  if (Math.abs(logit) < 1e-6) return 1 - y;
  if (logit > 0) return Math.expm1(-logit * (1 - y)) / Math.expm1(-logit);
  return (Math.exp(logit * y) * Math.expm1(logit * (1 - y))) / Math.expm1(logit);
}

/** Return log Gamma(x) for x > 0 by Stirling's series, after raising x to 10 or more. */
function logGamma(x) {
  let product = 1;
  for (; x < 10; x++) product *= x;
  const r = 1 / (x * x);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r / 1680))) / x;
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + series - Math.log(product);
}

/** Return P(Y < y) for Y ~ Beta(a, b), by the continued fraction on the side where it is short. */
function betaBelow(a, b, y, logBeta) {
  const mirrored = y > (a + 1) / (a + b + 2);
  const [p, q, x] = mirrored ? [b, a, 1 - y] : [a, b, y];
  const front = Math.exp(p * Math.log(x) + q * Math.log1p(-x) - logBeta) / p;
  const below = front / betaFraction(p, q, x);
  return mirrored ? 1 - below : below;
}

/**
 * Return the continued fraction 1 + d1 / (1 + d2 / (1 + ...)) of the incomplete beta function.
 * It is evaluated from the front, by the ratios of successive numerators and denominators.
 * Source: NIST Digital library of mathematical functions, section 8.17(v).
 */
function betaFraction(p, q, x) {
  let value = 1;
  let above = 1;
  let below = 0;
  for (let n = 1; n < 2000; n++) {
    const m = n >> 1;
    const d =
      n % 2 === 0
        ? (m * (q - m) * x) / ((p + n - 1) * (p + n))
        : (-(p + m) * (p + q + m) * x) / ((p + n - 1) * (p + n));
    above = 1 + d / above;
    below = 1 / (1 + d * below);
    value *= above * below;
    if (Math.abs(above * below - 1) < 1e-12) break;
  }
  return value;
}
