// Likelihoods: how the expected image of each family follows from the decoder's outputs.
//
// Each function takes the outputs, channel by channel, and `about`: the numbers of colours, pixels
// and grey levels, whether means are taken over grey levels, and the family's own numbers. It
// returns the function that gives the expected value of number k, which is colour by colour.

const EXPECTED = {
  bernoulli: (outputs) => (k) => sigmoid(outputs[k]),
  continuous_bernoulli: continuousBernoulli,
  gaussian_fixed_sigma: normalOfGivenSigma,
  gaussian_shared_sigma: (outputs, about) => ofSharedScale(normalTail, outputs, about),
  gaussian_image_sigma: normalOfImageScale,
  gaussian_pixel_sigma: (outputs, about) =>
    located(normalTail, outputs, pixelScale(outputs, about), about),
  gaussian_optimal_sigma: normalOfGivenSigma,
  laplace: (outputs, about) => ofSharedScale(laplaceTail, outputs, about),
  student_t: (outputs, about) => ofSharedScale(studentTail, outputs, about),
  beta,
  beta_binomial: betaBinomial,
  categorical,
  discretized_logistic: discretizedLogistic,
  discretized_logistic_mixture: discretizedLogisticMixture,
};

function normalOfGivenSigma(outputs, about) {
  return located(normalTail, outputs, () => about.numbers.sigma[0], about);
}

/** Return the mean of a symmetric family: its location, or its mean over the grey levels. */
function located(tail, outputs, scale, about) {
  if (!about.by_levels) return (k) => outputs[k];
  return (k) => meanOverLevels(tail, outputs[k], scale(k), about.levels);
}

function ofSharedScale(tail, outputs, about) {
  const scale = boundedScale(about.numbers.raw_scale[0]);
  return located(tail, outputs, () => scale, about);
}

/** Return the scale of each number, which stands in the second half of the outputs. */
function pixelScale(outputs, { colors, pixels }) {
  return (k) => boundedScale(outputs[colors * pixels + k]);
}

function normalOfImageScale(outputs, about) {
  const raw = outputs.subarray(about.colors * about.pixels);
  const scale = boundedScale(raw.reduce((sum, x) => sum + x, 0) / raw.length);
  return located(normalTail, outputs, () => scale, about);
}

/** Return y in [0, 1] as a value of the interval that has half a bin more at each end. */
function stretched(y, levels) {
  const half = 0.5 / (levels - 1);
  return (1 + 2 * half) * y - half;
}

function continuousBernoulli(outputs, { levels, by_levels }) {
  if (!by_levels) return (k) => stretched(continuousBernoulliMean(outputs[k]), levels);
  return (k) => meanOverEqualBins((y) => continuousBernoulliBeyond(outputs[k], y), levels);
}

function beta(outputs, { colors, pixels, levels, by_levels }) {
  return (k) => {
    const a = boundedConcentration(outputs[k]);
    const b = boundedConcentration(outputs[colors * pixels + k]);
    if (!by_levels) return stretched(a / (a + b), levels);
    const logBeta = logGamma(a) + logGamma(b) - logGamma(a + b);
    return meanOverEqualBins((y) => 1 - betaBelow(a, b, y, logBeta), levels);
  };
}

function betaBinomial(outputs, { colors, pixels }) {
  return (k) => {
    const a = boundedConcentration(outputs[k]);
    return a / (a + boundedConcentration(outputs[colors * pixels + k]));
  };
}

/** A softmax over the grey levels, whose logits a linear head makes of the features of a pixel. */
function categorical(outputs, { pixels, levels, numbers }) {
  const [weight, bias] = [numbers["head.weight"], numbers["head.bias"]];
  const features = new Float64Array(weight.length / levels);
  const logits = new Float64Array(levels);
  return (k) => {
    const start = Math.floor(k / pixels) * features.length * pixels + (k % pixels);
    for (let f = 0; f < features.length; f++) features[f] = outputs[start + f * pixels];
    for (let v = 0, w = 0; v < levels; v++) {
      let logit = bias[v];
      for (let f = 0; f < features.length; f++, w++) logit += weight[w] * features[f];
      logits[v] = logit;
    }
    return softmaxMean(logits);
  };
}

/** Return the mean over the grey levels with these logits. */
function softmaxMean(logits) {
  const largest = Math.max(...logits);
  let [total, sum] = [0, 0];
  for (let v = 0; v < logits.length; v++) {
    const weight = Math.exp(logits[v] - largest);
    total += weight;
    sum += v * weight;
  }
  return sum / total / (logits.length - 1);
}

function discretizedLogistic(outputs, about) {
  const scale = pixelScale(outputs, about);
  return (k) => logisticMeanOverLevels(outputs[k], scale(k), about.levels);
}

/** A mixture of logistics, whose weights the colours of a pixel share. */
function discretizedLogisticMixture(outputs, { colors, pixels, levels }) {
  const each = 1 + 2 * colors; // channels of a component: its logit, locations and scales
  const components = outputs.length / pixels / each;
  const logits = new Float64Array(components);
  return (k) => {
    const [color, pixel] = [Math.floor(k / pixels), k % pixels];
    const value = (c, channel) => outputs[(c * each + channel) * pixels + pixel];
    for (let c = 0; c < components; c++) logits[c] = value(c, 0);
    const largest = Math.max(...logits);
    let [total, sum] = [0, 0];
    for (let c = 0; c < components; c++) {
      const weight = Math.exp(logits[c] - largest);
      const loc = value(c, 1 + color) + c / (components - 1);
      const scale = boundedScale(value(c, 1 + colors + color));
      total += weight;
      sum += weight * logisticMeanOverLevels(loc, scale, levels);
    }
    return sum / total;
  };
}
