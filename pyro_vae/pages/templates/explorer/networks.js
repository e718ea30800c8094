// Networks: each layer becomes a function from numbers to numbers that keeps its own memory.

const LAYERS = {
  flatten,
  unflatten,
  linear,
  convolution,
  transposedConvolution,
  relu,
  tanh,
  softplus: softplusLayer,
  gated,
};

/**
 * Return a network as one function; its result is overwritten by the next call.
 * `shape` is that of its input: [numbers], or [channels, height, width].
 */
function buildNetwork(layers, shape) {
  const steps = [];
  for (const layer of layers) {
    const step = LAYERS[layer.kind](layer, shape);
    shape = step.shape;
    if (step.run) steps.push(step.run);
  }
  return (x) => steps.reduce((values, run) => run(values), x);
}

const sizeOf = (shape) => shape.reduce((product, n) => product * n, 1);

function flatten(layer, shape) {
  return { shape: [sizeOf(shape)] };
}

function unflatten(layer, shape) {
  return { shape: layer.shape };
}

function elementwise(shape, activation) {
  const out = new Float64Array(sizeOf(shape));
  const run = (x) => {
    for (let k = 0; k < out.length; k++) out[k] = activation(x[k]);
    return out;
  };
  return { shape, run };
}

function relu(layer, shape) {
  return elementwise(shape, (x) => (x > 0 ? x : 0));
}

function tanh(layer, shape) {
  return elementwise(shape, Math.tanh);
}

function softplusLayer(layer, shape) {
  return elementwise(shape, softplus);
}

/** Return the first half of the channels times the sigmoid of the rest. */
function gated(layer, [channels, ...size]) {
  const shape = [channels / 2, ...size];
  const out = new Float64Array(sizeOf(shape));
  const run = (x) => {
    for (let k = 0; k < out.length; k++) out[k] = x[k] * sigmoid(x[out.length + k]);
    return out;
  };
  return { shape, run };
}

function linear(layer, [inputs]) {
  const [weight, bias] = [numbersOf(layer.weight), numbersOf(layer.bias)];
  const out = new Float64Array(layer.outputs);
  const run = (x) => {
    for (let o = 0, k = 0; o < out.length; o++) {
      let sum = bias[o];
      for (let i = 0; i < inputs; i++, k++) sum += weight[k] * x[i];
      out[o] = sum;
    }
    return out;
  };
  return { shape: [layer.outputs], run };
}

/** Return the range of positions in a kernel that fall inside an image, for a kernel at `start`. */
function inside(start, kernel, size) {
  return [Math.max(0, -start), Math.min(kernel, size - start)];
}

function convolution(layer, [channels, height, width]) {
  const [weight, bias] = [numbersOf(layer.weight), numbersOf(layer.bias)];
  const [kernelRows, kernelColumns] = layer.kernel;
  const rows = Math.floor((height + 2 * layer.padding[0] - kernelRows) / layer.stride[0]) + 1;
  const columns = Math.floor((width + 2 * layer.padding[1] - kernelColumns) / layer.stride[1]) + 1;
  const out = new Float64Array(layer.outputs * rows * columns);

  function at(x, o, top, left) {
    const [firstRow, endRow] = inside(top, kernelRows, height);
    const [firstColumn, endColumn] = inside(left, kernelColumns, width);
    let sum = bias[o];
    for (let c = 0; c < channels; c++) {
      for (let i = firstRow; i < endRow; i++) {
        const pixels = (c * height + top + i) * width + left;
        const weights = ((o * channels + c) * kernelRows + i) * kernelColumns;
        for (let j = firstColumn; j < endColumn; j++) sum += weight[weights + j] * x[pixels + j];
      }
    }
    return sum;
  }

  const run = (x) => {
    for (let o = 0, k = 0; o < layer.outputs; o++) {
      for (let i = 0; i < rows; i++) {
        const top = i * layer.stride[0] - layer.padding[0];
        for (let j = 0; j < columns; j++, k++)
          out[k] = at(x, o, top, j * layer.stride[1] - layer.padding[1]);
      }
    }
    return out;
  };
  return { shape: [layer.outputs, rows, columns], run };
}

function transposedConvolution(layer, [channels, height, width]) {
  const [weight, bias] = [numbersOf(layer.weight), numbersOf(layer.bias)];
  const [kernelRows, kernelColumns] = layer.kernel;
  const rows = (height - 1) * layer.stride[0] - 2 * layer.padding[0] + kernelRows + layer.added[0];
  const columns =
    (width - 1) * layer.stride[1] - 2 * layer.padding[1] + kernelColumns + layer.added[1];
  const area = rows * columns;
  const out = new Float64Array(layer.outputs * area);

  /** Add the kernels of all outputs, times one value, to the places that they cover. */
  function spread(value, c, top, left) {
    const [firstRow, endRow] = inside(top, kernelRows, rows);
    const [firstColumn, endColumn] = inside(left, kernelColumns, columns);
    for (let o = 0; o < layer.outputs; o++) {
      for (let i = firstRow; i < endRow; i++) {
        const pixels = o * area + (top + i) * columns + left;
        const weights = ((c * layer.outputs + o) * kernelRows + i) * kernelColumns;
        for (let j = firstColumn; j < endColumn; j++)
          out[pixels + j] += value * weight[weights + j];
      }
    }
  }

  const run = (x) => {
    for (let o = 0; o < layer.outputs; o++) out.fill(bias[o], o * area, (o + 1) * area);
    for (let c = 0, k = 0; c < channels; c++) {
      for (let i = 0; i < height; i++) {
        const top = i * layer.stride[0] - layer.padding[0];
        for (let j = 0; j < width; j++, k++) {
          if (x[k] !== 0) spread(x[k], c, top, j * layer.stride[1] - layer.padding[1]);
        }
      }
    }
    return out;
  };
  return { shape: [layer.outputs, rows, columns], run };
}
