// Sliders: one for each component of the chosen run's code, the most important first.

const sliders = []; // of the chosen run, in the order of its components

/** Return what a component is worth, in words. */
function worthOf(run, k) {
  return run.has_rate
    ? `${run.importance[k].toFixed(2)} nats`
    : `variance ${run.importance[k].toPrecision(2)}`;
}

function makeSlider(run, k) {
  const name = `component ${k + 1}`;
  const slider = make("input", {
    type: "range",
    min: -run.reach,
    max: run.reach,
    step: 0.01,
    id: `component-${k + 1}`,
  });
  slider.setAttribute("aria-label", `${name}, ${worthOf(run, k)}`);
  slider.oninput = () =>
    moveCode(
      run,
      run.code.map((z, j) => (j === k ? Number(slider.value) : z)),
    );
  const value = make("output", { htmlFor: slider.id });
  const label = make("label", { htmlFor: slider.id, textContent: name });
  const worth = make("span", { className: "worth", textContent: worthOf(run, k) });
  sliders[k] = { slider, value };
  return [label, slider, value, worth];
}

/** Make the sliders of the chosen run; those of inactive components are folded away. */
function showSliders() {
  const run = state.chosen;
  const active = run.order.filter((k) => run.active[k]);
  const inactive = run.order.filter((k) => !run.active[k]);
  const rows = (components) => components.flatMap((k) => makeSlider(run, k));
  sliders.length = run.latentDim;
  byId("sliders").replaceChildren(...rows(active));
  byId("inactive-sliders").replaceChildren(...rows(inactive));
  byId("inactive").open = active.length === 0;
  byId("inactive").hidden = inactive.length === 0;
  const measure = `whose mean varies by no more than ${run.least_variance}`;
  const noun = inactive.length === 1 ? "component" : "components";
  byId("inactive-summary").textContent = `${inactive.length} inactive ${noun}, ${measure}`;
  byId("sliders-look").textContent = run.has_rate
    ? "The components by their mean KL over test images, the information that each has about an image." +
      " Look at what changes when one is moved, and at whether an inactive one changes anything."
    : "The components by the variance of their codes over test images, since an autoencoder has no KL." +
      " Look at what changes when one is moved, and at where images stop looking like data.";
}

function drawSliders() {
  sliders.forEach(({ slider, value }, k) => {
    slider.value = state.chosen.code[k];
    value.textContent = state.chosen.code[k].toFixed(2);
  });
}

function startSliders() {
  showSliders();
  listeners.push(drawSliders);
}
