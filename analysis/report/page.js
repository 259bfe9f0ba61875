// Puts the page together.

const THEMES = ["system", "light", "dark"];
const VERDICTS = ["right", "wrong", "unparsable", "malformed", "no_answer", "search_failed", "out_of_turns", "truncated", "timeout", "error"];

function themes() {
  const button = byId("theme");
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    button.textContent = `Theme: ${next}`;
  });
}

function curves() {
  const seeds = data.methods.some((method) => method.runs.length > 1);
  const long = data.charts.some((chart) => chart.series.some((line) => line.trend));
  byId("curves-lead").textContent = `${seeds ? "Lines are means over a method’s seeds, bands run from the least to the largest seed. " : ""}${long ? "Bold lines are running means over a twentieth of the points; the thin ones keep every extreme. " : ""}The chosen step is the same in all charts: point, or use the arrow keys; click or press Enter to see the step’s tokens.${data.methods.length > 8 ? " Colours and dashes repeat after eight methods." : ""}`;
  byId("methods").append(...data.methods.map((method, m) => {
    const line = svg("line", { class: `curve k${m % 8}`, x1: 1, x2: 31, y1: 6, y2: 6, "stroke-dasharray": DASHES[m % 8] || null });
    const count = method.runs.length > 1 ? ` (${method.runs.length} seeds)` : "";
    return el("li", {}, svg("svg", { width: 32, height: 12, "aria-hidden": "true" }, line), visible(method.label) + count);
  }));
  return place(byId("charts"), data.charts.map(lineChart));
}

/** Figures go in together and are drawn after, so that the page is laid out once. */
function place(root, drawings) {
  root.append(...drawings.map((drawing) => drawing.figure));
  return drawings.map((drawing) => drawing.render);
}

function drivers() {
  const renders = [];
  const names = { tr_tokens: ["tokens", "grey"], tr_mass_before: ["gradient without the weight", "k0"], tr_mass: ["gradient with the weight", "k1"] };
  for (const stack of data.stacks) {
    const box = el("div", { class: "driver" }, el("h3", {}, visible(stack.label)));
    byId("driver-list").append(box);
    if (!stack.buckets.tr_tokens.steps.length) {
      box.append(el("p", { class: "absent" }, "Not drawn: no run has ", el("code", {}, "actor/tr_tokens/…"), " (policy_loss.diagnostics=false, or another engine)."));
      continue;
    }
    // A method without a weight has the same shares twice.
    const same = BUCKETS.every((_, i) => Math.abs(stack.buckets.tr_mass.means[i] - stack.buckets.tr_mass_before.means[i]) < 1e-3);
    const series = same ? { tr_tokens: names.tr_tokens, tr_mass: ["gradient (no weight)", "k0"] } : names;
    const most = Math.max(...Object.keys(series).flatMap((key) => stack.buckets[key].means));
    const head = el("tr", {}, el("th", { scope: "col" }, "π"), ...Object.values(series).map(([name]) => el("th", { scope: "col" }, name)));
    const rows = BUCKETS.map((bucket, i) => el("tr", {}, el("th", { scope: "row" }, bucket), ...Object.entries(series).map(([key, [, k]]) => {
      const value = stack.buckets[key].means[i];
      const bar = el("span", { class: `meter ${k}` });
      bar.style.setProperty("width", `${(100 * (value ?? 0)) / (most || 1)}%`);
      bar.hidden = !value;
      return el("td", {}, percent(value), bar);
    })));
    box.append(el("div", { class: "scroll tall", role: "region", tabindex: "0", "aria-label": `Gradient by bucket, ${visible(stack.label)}` },
      el("table", { class: "cells" }, el("thead", {}, head), el("tbody", {}, ...rows))));
    if (stack.buckets.tr_mass.steps.length)
      renders.push(...place(box, [stackChart("Gradient mass by bucket", `${same ? "Shares" : "Weighted shares"}${spans(stack.buckets.tr_mass)}; rare tokens at the bottom. actor/tr_mass/…`, { ...stack.buckets.tr_mass, names: BUCKETS }, BUCKETS.map((_, i) => `b${i}`))]));
  }
  return renders;
}

const spans = (stack) => (stack.of > stack.steps.length ? `, means over spans of about ${Math.round(stack.of / stack.steps.length)} steps` : "");

function verdicts() {
  const root = byId("verdict-list");
  return data.stacks.flatMap((stack) => {
    const own = stack.verdicts;
    if (!own.steps.length) {
      root.append(el("p", { class: "absent" }, `${visible(stack.label)}: not drawn, no run has `, el("code", {}, "reward/verdict_…"), "."));
      return [];
    }
    const never = own.never.length ? ` never: ${own.never.map((name) => visible(name)).join(", ")}.` : "";
    const classes = own.names.map((name, i) => `v${VERDICTS.indexOf(name) >= 0 ? VERDICTS.indexOf(name) : i % 10}`);
    return place(root, [stackChart(stack.label, `Keys reward/verdict_…${spans(own)};${never || " every verdict came up."}`, own, classes)]);
  });
}

function facts() {
  const absent = (text) => el("p", { class: "absent" }, text);
  byId("headline").textContent = visible(data.headline);
  if (data.problems.length) {
    byId("problems").hidden = false;
    byId("problem-list").append(...data.problems.map((line) => el("li", {}, visible(line))));
  }
  byId("settings-said").textContent = data.settings.said;
  byId("settings-tables").append(...data.settings.parts.flatMap((part) =>
    [el("h3", {}, part.title), table(`${part.title}, differences`, ["key", ...part.columns], part.rows)]));
  byId("run-facts").append(table("Runs", ["run", ...data.facts.columns], data.facts.rows));
  const events = data.without_events.length
    ? `No events.jsonl in ${data.without_events.map((name) => visible(name)).join(", ")}: an older layout, which has no ledger, findings or machine.` : "";
  for (const [id, label] of [["ledger", "Batch ledger"], ["machine", "Machine and versions"]])
    byId(id).append(data[id].rows.length ? table(label, ["", ...data[id].columns], data[id].rows) : absent(events || "Nothing was recorded."));
  byId("findings").append(data.findings.length
    ? table("Preflight findings", ["code", "severity", "what", "what to do", "runs"], data.findings.map((f) => [f.code, f.severity, f.message, f.fix, f.runs]))
    : absent(events || "None."));
  byId("foot").textContent = `${data.runs.length} run${data.runs.length > 1 ? "s" : ""}: ${data.runs.map((name) => visible(name)).join(", ")}. Self-contained: nothing is loaded from anywhere. Written by tr-grpo report.`;
}

themes();
facts();
const renders = [...curves(), ...drivers(), ...verdicts()];
for (const render of renders) render();
const openTokens = tokenView(byId("token-view"), byId("tokens-lead"));
crosshair.open = (step) => {
  openTokens(step);
  byId("tokens").scrollIntoView();
  byId("tokens").focus({ preventScroll: true });
};
performance.mark("report-ready");
document.documentElement.dataset.ready = "true";
