// Charts: lines with bands, and stacked shares. One step is chosen for all of them.

const HEIGHT = 176;
const MARGIN = { top: 8, right: 10, bottom: 20, left: 46 };
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 4", "6 2 1 2"];
const crosshair = { step: null, listeners: [], open: () => {} };

/** Move the crosshair of every chart. */
function choose(step) {
  if (step === crosshair.step) return;
  crosshair.step = step;
  for (const listener of crosshair.listeners) listener(step);
}

/** At most about `count` round numbers within [low, high]. */
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * unit).find((n) => n >= raw);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

/** The steps that all charts have on their axis. */
const domain = (() => {
  const all = data.charts.flatMap((chart) => chart.series.flatMap((line) => [line.steps[0], line.steps.at(-1)]))
    .concat(data.stacks.flatMap((stack) => [...stack.verdicts.steps, stack.verdicts.last]).filter((step) => step !== null));
  return all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
})();

/**
 * A plot that takes the focus, the pointer and the arrow keys.
 *
 * `draw(layer, x, y)` fills the layer; `said(step)` returns what is read out at a step; `steps` are those to stop at;
 * the axis goes `pad` steps beyond the first and the last.
 */
function plot({ label, steps, range, pad = 0, draw, said, show }) {
  const [first, span] = [domain[0] - pad, domain[1] - domain[0] + 2 * pad || 1];
  const node = el("div", {
    class: "plot", tabindex: "0", role: "slider", "aria-label": label, "aria-orientation": "horizontal",
    "aria-valuemin": steps[0], "aria-valuemax": steps.at(-1), "aria-valuenow": steps.at(-1), "aria-valuetext": said(steps.at(-1)),
  });
  const picture = svg("svg", { "aria-hidden": "true", height: HEIGHT });
  const cross = svg("line", { class: "cross", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
  node.append(picture);
  let width = 0;
  let x = () => 0;

  const render = () => {
    const now = Math.round(node.clientWidth);
    if (!now || now === width) return;
    width = now;
    const inner = width - MARGIN.left - MARGIN.right;
    x = (step) => MARGIN.left + (inner * (step - first)) / span;
    const y = (value) => HEIGHT - MARGIN.bottom - ((HEIGHT - MARGIN.top - MARGIN.bottom) * (value - range[0])) / (range[1] - range[0]);
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const layer = svg("g");
    for (const value of ticks(range[0], range[1], 4)) {
      layer.append(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
        svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
    for (const step of ticks(domain[0], domain[1], Math.max(2, Math.floor(inner / 70))).filter(Number.isInteger))
      layer.append(svg("text", { x: x(step), y: HEIGHT - 4, "text-anchor": "middle" }, number(step)));
    draw(layer, x, y);
    picture.replaceChildren(layer, cross);
    place(crosshair.step);
  };
  const place = (step) => {
    const at = step === null ? null : steps[nearest(steps, step)];
    cross.setAttribute("visibility", at === null ? "hidden" : "visible");
    if (at === null) return;
    cross.setAttribute("x1", x(at));
    cross.setAttribute("x2", x(at));
    node.setAttribute("aria-valuenow", at);
    node.setAttribute("aria-valuetext", said(at));
    show(at);
  };
  crosshair.listeners.push(place);
  show(null);

  const under = (event) => {
    const inner = width - MARGIN.left - MARGIN.right;
    const share = (event.clientX - node.getBoundingClientRect().left - MARGIN.left) / inner;
    return steps[nearest(steps, first + share * span)];
  };
  node.addEventListener("pointermove", (event) => choose(under(event)));
  node.addEventListener("click", (event) => { choose(under(event)); crosshair.open(crosshair.step); });
  node.addEventListener("keydown", (event) => {
    const from = crosshair.step === null ? steps.length - 1 : nearest(steps, crosshair.step);
    const to = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1,
      PageUp: from + 10, PageDown: from - 10, Home: 0, End: steps.length - 1 }[event.key];
    if (to !== undefined) choose(steps[Math.max(0, Math.min(steps.length - 1, to))]);
    else if (event.key === "Enter") crosshair.open(steps[from]);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(render).observe(node);
  return { node, render };
}

const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
const readNumber = (line, step) => line.mean[nearest(line.steps, step)];

/** One line chart as a figure. */
function lineChart(chart) {
  const figure = el("figure", {});
  const caption = el("figcaption", {}, el("span", { class: "title" }, visible(chart.title)));
  figure.append(caption);
  if (!chart.series.length) {
    figure.append(el("p", { class: "absent" }, "Not drawn: no run has ", el("code", {}, visible(chart.key)), "."));
    return { figure, render: () => {} };
  }
  const missing = data.methods.filter((_, m) => !chart.series.some((line) => line.method === m && !line.second)).map((m) => m.label);
  const notes = [chart.caption];
  if (chart.second) notes.push(chart.series.some((line) => line.second) ? `Thin dotted: ${chart.second.label}.` : `${chart.second.key} is absent.`);
  if (missing.length) notes.push(`Absent in ${missing.join(", ")}.`);
  if (chart.thinned) notes.push(`${chart.thinned.toLocaleString("en")} points, thinned.`);
  caption.append(el("span", { class: "note" }, visible(notes.join(" ")), " ", el("code", {}, visible(chart.key))));
  const readout = el("p", { class: "readout" });

  const values = chart.series.flatMap((line) => [...line.mean, ...(line.low ?? []), ...(line.high ?? [])]).filter((v) => v !== null);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low > 0 && low < 0.4 * high) low = 0;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const room = 0.04 * (high - low);
  const steps = [...new Set(chart.series.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const name = (line) => data.methods[line.method].label + (line.second ? `, ${chart.second.label}` : "");
  const said = (step) => `step ${step}: ${chart.series.map((line) => `${name(line)} ${number(readNumber(line, step))}`).join("; ")}`;

  const drawing = plot({
    label: `${chart.title}, by step`, steps, range: [low === 0 ? 0 : low - room, high + room], said,
    show: (step) => {
      const at = step ?? steps.at(-1);
      readout.replaceChildren(`step ${number(at)}: `);
      chart.series.filter((line) => !line.second).forEach((line, i) => {
        const index = nearest(line.steps, at);
        const extent = line.low ? ` (${number(line.low[index])}–${number(line.high[index])})` : "";
        readout.append(i ? " · " : "", el("b", { class: `k${line.method % 8} named` }, visible(data.methods[line.method].label)), " ", el("b", {}, number(line.mean[index])), extent);
      });
    },
    draw: (layer, x, y) => {
      const bold = [];
      for (const line of chart.series) {
        const k = `k${line.method % 8}`;
        const points = line.steps.map((step, i) => [x(step), line.mean[i]]).filter(([, v]) => v !== null).map(([a, v]) => [a, y(v)]);
        if (line.low && !line.second) {
          const upper = line.steps.map((step, i) => [x(step), y(line.high[i])]);
          const lower = line.steps.map((step, i) => [x(step), y(line.low[i])]).reverse();
          layer.append(svg("path", { class: `band ${k}`, d: `${path([...upper, ...lower])}Z` }));
        }
        const dash = { "stroke-dasharray": line.second ? "1 3" : DASHES[line.method % 8] || null };
        const kind = line.second ? " second" : line.trend ? " noise" : "";
        layer.append(svg("path", { class: `curve ${k}${kind}`, d: path(points), ...(line.trend ? {} : dash) }));
        if (line.trend) bold.push(svg("path", { class: `curve ${k}`, d: path(line.steps.map((step, i) => [x(step), y(line.trend[i])])), ...dash }));
        if (points.length <= 30 && !line.second)
          for (const [a, b] of points) layer.append(svg("circle", { class: `dot ${k}`, cx: a, cy: b, r: 2.5 }));
      }
      layer.append(...bold);
    },
  });
  const rows = () => steps.map((step) => [number(step), ...chart.series.map((line) => {
    const i = nearest(line.steps, step);
    return line.steps[i] === step ? number(line.mean[i]) : "";
  })]);
  figure.append(readout, drawing.node,
    disclosure("Data table", () => table(`${chart.title}, data`, ["step", ...chart.series.map(name)], rows(), { numbers: true, low: true })));
  return { figure, render: drawing.render };
}

/** Stacked shares over the steps as a figure; `kind` is the class that colours them. */
function stackChart(title, note, stack, classes) {
  const figure = el("figure", {});
  const caption = el("figcaption", {}, el("span", { class: "title" }, visible(title)), el("span", { class: "note" }, visible(note)));
  figure.append(caption);
  const readout = el("p", { class: "readout" });
  const legend = el("ul", { class: "legend" });
  const cells = stack.names.map((name, i) => {
    const value = el("b", {});
    legend.append(el("li", {}, el("span", { class: `swatch ${classes[i]}` }), visible(name), value));
    return value;
  });
  const said = (step) => {
    const row = stack.rows[nearest(stack.steps, step)];
    return `step ${step}: ${stack.names.map((name, i) => `${name} ${percent(row[i])}`).join("; ")}`;
  };
  const drawing = plot({
    label: `${title}, by step`, steps: stack.steps, range: [0, 1], pad: 0.5, said,
    show: (step) => {
      readout.textContent = step === null ? "mean over the steps" : `from step ${number(step)}`;
      const row = step === null ? stack.means : stack.rows[nearest(stack.steps, step)];
      cells.forEach((cell, i) => { cell.textContent = percent(row[i]); });
    },
    draw: (layer, x, y) => {
      const left = stack.steps.map((step) => x(step - 0.5));
      const right = [...left.slice(1), x(stack.last + 0.5)];
      let base = stack.rows.map(() => 0);
      stack.names.forEach((_, c) => {
        const top = stack.rows.map((row, i) => base[i] + (row[c] ?? 0));
        const over = left.flatMap((from, i) => [[from, y(top[i])], [right[i], y(top[i])]]);
        const back = left.flatMap((from, i) => [[from, y(base[i])], [right[i], y(base[i])]]).reverse();
        layer.append(svg("path", { class: `area edge ${classes[c]}`, d: `${path([...over, ...back])}Z` }));
        base = top;
      });
    },
  });
  figure.append(readout, drawing.node, legend, disclosure("Data table", () =>
    table(`${title}, data`, ["step", ...stack.names], stack.steps.map((step, i) => [number(step), ...stack.rows[i].map(percent)]), { numbers: true, low: true })));
  return { figure, render: drawing.render };
}
