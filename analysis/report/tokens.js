// The token view: one response, each token coloured, with GRPO's and TR-GRPO's share of the gradient side by side.

const view = data.tokens;
const EDGES = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75];
const BUCKETS = ["0–0.001", "0.001–0.01", "0.01–0.05", "0.05–0.1", "0.1–0.25", "0.25–0.5", "0.5–0.75", "0.75–1"];
const TIMES = [0.03, 0.1, 0.3, 1, 3, 10, 30];
const SIGNED = [0.5, 1, 2];
const MODES = { share: "share of the gradient", pi: "probability π", w: "weight w", a: "advantage A" };
const TOP = 10;

const at = (field, i) => (Array.isArray(field) ? field[i] : field);
const above = (edges, value) => edges.filter((edge) => value >= edge).length;

/** The numbers of one token; those of a masked token are null. */
function token(response, i) {
  const [id, text] = view.pieces[response.t[i]];
  if (response.m && response.m[i] === "0") return { id, text, masked: true };
  const log = response.p[i] === null ? null : -response.p[i] * 1e-5;
  const moved = at(response.o, i);
  const share = (field) => { const value = at(field, i); return value === null ? null : value * 1e-6; };
  const pi = log === null ? null : Math.exp(log);
  return {
    id, text, masked: false, pi, old: moved === null || log === null ? null : Math.min(1, Math.exp(log - moved * 1e-5)),
    w: at(response.w, i), a: at(response.a, i), g: at(response.g, i), before: share(response.b), after: share(response.s),
    bucket: pi === null ? null : above(EDGES, pi),
  };
}

/** What a colouring does: the class of a token, and its scale. */
function colouring(mode, response, tokens) {
  if (mode === "pi") return {
    of: (t) => (t.bucket === null ? "s0" : `s${8 - t.bucket}`),
    note: "Rare tokens stand out: the darker and the taller the bar, the smaller π.",
    scale: BUCKETS.map((name, i) => [`s${8 - i}`, name]),
  };
  if (mode === "a") return {
    of: (t) => (!t.a ? "s0" : `${t.a > 0 ? "p" : "n"}${1 + above(SIGNED, Math.abs(t.a))}`),
    note: "Blue with a bar below: pushed up. Orange with a bar above: pushed down.",
    scale: [["n4", "A ≤ −2"], ["n3", "to −1"], ["n2", "to −0.5"], ["n1", "below 0"], ["s0", "0"], ["p1", "above 0"], ["p2", "from 0.5"], ["p3", "from 1"], ["p4", "A ≥ 2"]],
  };
  if (mode === "w") {
    const known = tokens.filter((t) => !t.masked && t.w !== null).map((t) => t.w);
    const low = known.reduce((a, b) => Math.min(a, b), Infinity);
    const high = known.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!(high > low)) return { of: () => "s1", note: `Every token has the weight ${number(known[0] ?? null)}.`, scale: [["s1", number(known[0] ?? null)]] };
    return {
      of: (t) => (t.w === null ? "s0" : `s${1 + Math.min(7, Math.floor((8 * (t.w - low)) / (high - low)))}`),
      note: "The darker and the taller the bar, the larger w.",
      scale: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`s${n}`, `from ${number(low + ((n - 1) * (high - low)) / 8)}`]),
    };
  }
  const shown = (share) => (share === null ? "s0" : share === 0 ? "s0" : `s${1 + above(TIMES, share * response.counted)}`);
  return {
    of: (t, panel) => shown(t[panel]),
    note: `Multiples of an even share, 1 ÷ ${response.counted.toLocaleString("en")} tokens = ${percent(1 / response.counted)}.`,
    scale: [["s0", "none: no gradient"], ["s1", "below 0.03×"], ...TIMES.map((edge, i) => [`s${i + 2}`, `from ${edge}×`])],
  };
}

/** A select under its label; `options` are [value, text]. */
function chooser(label, options, onChange) {
  const id = newId("choose");
  const node = el("select", { id });
  const fill = (list) => node.replaceChildren(...list.map(([value, text]) => el("option", { value }, text)));
  fill(options);
  node.addEventListener("change", () => onChange(node.value));
  return { node, fill, box: el("div", { class: "field" }, el("label", { for: id }, label), node) };
}

/** Build the token view into `root`; returns the function that opens a step. */
function tokenView(root, lead) {
  if (!view.updates.length) {
    lead.textContent = view.recorded
      ? "Responses were recorded, but none of them could be read (see Problems)."
      : "No responses were recorded in these runs. A run records some of each update where actor_rollout_ref.actor.policy_loss.record_samples is above 0.";
    return () => {};
  }
  lead.textContent = `Responses of ${view.included.toLocaleString("en")} of ${view.recorded.toLocaleString("en")} recorded steps are included: the first, the last, the largest gradient norms, and steps evenly between, as far as the page’s size allows. Each token is shown as the update used it.`;
  const runs = [...new Set(view.updates.map((update) => update.run))];
  const weighted = view.updates.find((update) => !update.unweighted);
  const state = { run: (weighted ?? view.updates[0]).run, step: 0, verdict: "", bucket: "", mode: "share", sample: 0, current: 0 };
  let shown = [];
  let tokens = [];
  let lists = [];

  const names = () => data.shares[state.run].map((name) => visible(name));
  const stepsOf = (run) => [...new Set(view.updates.filter((update) => update.run === run).map((update) => update.step))];
  const samplesOf = (run, step) => view.updates.filter((update) => update.run === run && update.step === step)
    .flatMap((update) => update.responses.map((response) => ({ ...response, update: update.update, unweighted: update.unweighted })));

  const runChoice = chooser("Run", runs.map((run) => [run, brief(data.runs[run], 60)]), (value) => { state.run = Number(value); open(state.step); });
  const stepChoice = chooser("Step", [], (value) => open(Number(value)));
  const verdictChoice = chooser("Verdict", [], (value) => { state.verdict = value; listSamples(); });
  const sampleChoice = chooser("Response", [], (value) => { state.sample = Number(value); showSample(); });
  const bucketChoice = chooser("Tokens with π in", [], (value) => { state.bucket = value; showTokens(); });
  const move = (choice, by, label) => {
    const button = el("button", { type: "button", "aria-label": label }, by < 0 ? "‹" : "›");
    button.addEventListener("click", () => {
      const to = choice.node.selectedIndex + by;
      if (to < 0 || to >= choice.node.options.length) return;
      choice.node.selectedIndex = to;
      choice.node.dispatchEvent(new Event("change"));
    });
    return button;
  };
  const paired = (choice, what) => {
    const box = el("div", { class: "pair" }, move(choice, -1, `Previous ${what}`), choice.node, move(choice, 1, `Next ${what}`));
    choice.box.append(box);
    return choice.box;
  };
  const modes = el("fieldset", {}, el("legend", {}, "Colour by"), ...Object.entries(MODES).map(([mode, label]) => {
    const id = newId("mode");
    const input = el("input", { type: "radio", name: "mode", id, value: mode });
    input.checked = mode === state.mode;
    input.addEventListener("change", () => { state.mode = mode; showTokens(); });
    return el("span", { class: "choice" }, input, el("label", { for: id }, label));
  }));
  const about = el("p", { class: "sample", "aria-live": "polite" });
  const context = el("div", {});
  const scaleNote = el("p", { class: "note" });
  const scale = el("ul", { class: "scale", "aria-label": "Scale" });
  const counted = el("p", { class: "note", role: "status" });
  const panels = el("div", { class: "panels" });
  const details = el("dl", { class: "details", "aria-label": "The chosen token" });
  const spoken = el("p", { class: "quiet", "aria-live": "polite" });
  root.append(
    el("div", { class: "controls" }, ...(runs.length > 1 ? [runChoice.box] : []), paired(stepChoice, "step"), verdictChoice.box, paired(sampleChoice, "response")),
    el("div", { class: "controls" }, modes, bucketChoice.box), about, context, scaleNote, scale, counted, el("div", {}, panels, details), spoken);

  /** Show the recorded step nearest to `step`. */
  function open(step) {
    const steps = stepsOf(state.run);
    state.step = steps[nearest(steps, step)];
    runChoice.node.value = state.run;
    stepChoice.fill(steps.map((own) => [own, number(own)]));
    stepChoice.node.value = state.step;
    const counts = new Map();
    for (const { verdict } of samplesOf(state.run, state.step)) counts.set(verdict ?? "", (counts.get(verdict ?? "") ?? 0) + 1);
    if (!counts.has(state.verdict)) state.verdict = "all";
    const total = [...counts.values()].reduce((a, b) => a + b, 0);
    verdictChoice.fill([["all", `all (${total})`], ...[...counts].map(([verdict, count]) => [verdict, `${visible(verdict) || "none recorded"} (${count})`])]);
    verdictChoice.node.value = state.verdict;
    listSamples();
  }

  function listSamples() {
    shown = samplesOf(state.run, state.step).filter((sample) => state.verdict === "all" || (sample.verdict ?? "") === state.verdict);
    const groups = [...new Set(shown.map((sample) => sample.uid))];
    sampleChoice.fill(shown.map((sample, i) => [i, `${i + 1}. prompt ${groups.indexOf(sample.uid) + 1}, update ${sample.update + 1}: ${brief(sample.verdict ?? "no verdict", 24)}, reward ${number(sample.score)}`]));
    const moved = shown.findIndex((sample) => sample.us || sample.ub);
    state.sample = Math.max(0, moved);
    sampleChoice.node.value = state.sample;
    showSample();
  }

  function showSample() {
    const sample = shown[state.sample];
    tokens = sample.t.map((_, i) => token(sample, i));
    const whole = sample.us === null ? `${percent(sample.ub)} of the update’s gradient mass` : `${percent(sample.ub)} of the update’s gradient mass without the weight, ${percent(sample.us)} with it`;
    const left = sample.length > sample.t.length ? ` The first ${sample.t.length.toLocaleString("en")} are on this page; the shares are of all.` : "";
    about.replaceChildren(el("b", {}, visible(sample.verdict ?? "no verdict")), `, reward ${number(sample.score)}; ${sample.length.toLocaleString("en")} tokens, ${sample.counted.toLocaleString("en")} of them in the loss; ${sample.ub ? whole : "no gradient in this response"}.${left}`);
    context.replaceChildren(
      disclosure("Prompt", () => el("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": "Prompt" }, el("p", { class: "prompt" }, visible(view.texts[sample.prompt])))),
      disclosure("Ground truth", () => el("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": "Ground truth" }, el("p", { class: "prompt" }, visible(view.texts[sample.truth])))));
    const inBucket = BUCKETS.map((_, i) => tokens.filter((t) => !t.masked && t.bucket === i).length);
    bucketChoice.fill([["", "any bucket"], ...BUCKETS.map((name, i) => [i, `${name} (${inBucket[i]})`])]);
    bucketChoice.node.value = state.bucket;
    state.current = Math.max(0, tokens.findIndex(passes));
    showTokens();
  }

  const passes = (t) => state.bucket === "" || (!t.masked && t.bucket === Number(state.bucket));

  function showTokens() {
    const sample = shown[state.sample];
    const colour = colouring(state.mode, sample, tokens);
    scaleNote.textContent = colour.note;
    scale.replaceChildren(...colour.scale.map(([level, text]) => el("li", {}, el("span", { class: `tok ${level}` }, text))),
      el("li", {}, el("span", { class: "tok masked" }, "not in the loss")));
    if (state.bucket === "") counted.textContent = "";
    else {
      const inside = tokens.filter(passes);
      const sum = (panel) => percent(inside.reduce((total, t) => total + (t[panel] ?? 0), 0));
      counted.textContent = `${inside.length} of ${sample.counted} tokens lie in ${BUCKETS[Number(state.bucket)]}: ${sum("before")} of this response’s gradient by ${names()[0]}, ${sum("after")} by ${names()[1]}.`;
    }
    const [before, after] = names();
    const wanted = state.mode === "share"
      ? [["before", `${before}’s share: ${sample.unweighted ? "as trained" : "the weight divided out"}`],
        ["after", `${after}’s share: ${sample.unweighted ? "this gradient times the default weight" : "as trained, with the weight"}`]]
      : [["one", `Tokens by ${MODES[state.mode]}`]];
    lists = [];
    panels.replaceChildren(...wanted.map(([panel, title]) => makePanel(panel, title, sample, colour)));
    if (!passes(tokens[state.current] ?? { masked: true })) state.current = Math.max(0, tokens.findIndex(passes));
    select(state.current, false);
  }

  function makePanel(panel, title, sample, colour) {
    const id = newId("panel");
    const list = el("div", { class: "text", role: "listbox", "aria-labelledby": id });
    list.append(...tokens.map((t, i) => {
      const level = t.masked ? "masked" : colour.of(t, panel);
      const text = visible(t.text, true) || "▯";
      const kind = `tok ${level}${text.includes("\n") ? " lines" : ""}${passes(t) ? "" : " off"}`;
      return el("span", { class: kind, role: "option", tabindex: "-1", "data-i": i, "aria-selected": "false" }, text);
    }));
    if (!tokens.length) list.append(el("span", { role: "option", "aria-selected": "false", class: "tok" }, "(no token)"));
    const place = (event) => { const node = event.target.closest("[data-i]"); return node ? Number(node.dataset.i) : null; };
    list.addEventListener("pointerover", (event) => { const i = place(event); if (i !== null) describe(i); });
    list.addEventListener("pointerleave", () => describe(state.current));
    list.addEventListener("click", (event) => { const i = place(event); if (i !== null) select(i, true, list); });
    list.addEventListener("keydown", (event) => {
      const to = target(event.key, list);
      if (to === null) return;
      event.preventDefault();
      select(to, true, list);
    });
    lists.push(list);
    const box = el("div", { class: "panel", "data-panel": panel }, el("h3", { id }, title), list);
    if (panel !== "one") box.append(topTokens(panel, title, list));
    return box;
  }

  function topTokens(panel, title, list) {
    const best = tokens.map((t, i) => [i, t[panel] ?? 0]).filter(([i, share]) => share > 0 && passes(tokens[i])).sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, TOP);
    if (!best.length) return el("p", { class: "absent" }, "No token of this response has a gradient here.");
    return el("ol", { class: "top", "aria-label": `Top tokens, ${title}` }, ...best.map(([i, share]) => {
      const button = el("button", { type: "button" }, visible(tokens[i].text, true).replace("\n", "") || "▯");
      button.addEventListener("click", () => select(i, true, list));
      return el("li", {}, button, ` ${percent(share)}, π ${probability(tokens[i].pi)}`);
    }));
  }

  /** The token that a key leads to, or null for a key without a meaning here. */
  function target(key, list) {
    const open = tokens.map((t, i) => [t, i]).filter(([t]) => passes(t)).map(([, i]) => i);
    const here = open.indexOf(state.current);
    if (!open.length) return null;
    if (key === "ArrowRight") return open[Math.min(open.length - 1, here + 1)];
    if (key === "ArrowLeft") return open[Math.max(0, here - 1)];
    if (key === "Home") return open[0];
    if (key === "End") return open.at(-1);
    if (key !== "ArrowUp" && key !== "ArrowDown") return null;
    const own = list.children[state.current];
    const sign = key === "ArrowDown" ? 1 : -1;
    const beyond = open.filter((i) => sign * (list.children[i].offsetTop - own.offsetTop) > 4);
    if (!beyond.length) return state.current;
    const line = list.children[sign > 0 ? beyond[0] : beyond.at(-1)].offsetTop;
    return beyond.filter((i) => Math.abs(list.children[i].offsetTop - line) <= 4)
      .reduce((a, b) => (Math.abs(list.children[b].offsetLeft - own.offsetLeft) < Math.abs(list.children[a].offsetLeft - own.offsetLeft) ? b : a));
  }

  function select(i, focus, list = lists[0]) {
    for (const each of lists) {
      for (const node of each.querySelectorAll('[aria-selected="true"], [tabindex="0"]')) {
        node.setAttribute("aria-selected", "false");
        node.setAttribute("tabindex", "-1");
        node.classList.remove("on");
      }
      const node = each.children[i];
      if (!node) continue;
      node.setAttribute("aria-selected", "true");
      node.setAttribute("tabindex", "0");
      node.classList.add("on");
    }
    state.current = i;
    if (focus) list.children[i].focus();
    const said = describe(i);
    if (focus) spoken.textContent = said;
  }

  /** Show a token's numbers; returns them as a sentence. */
  function describe(i) {
    const t = tokens[i];
    if (!t) { details.replaceChildren(); return ""; }
    const sample = shown[state.sample];
    const facts = [["token", visible(t.text, true).replace("\n", "") || "▯ (part of a character)"], ["id", String(t.id)], ["place", `${i + 1} of ${sample.length}`]];
    if (t.masked) facts.push(["in the loss", "no: an observation, or left out; no share"]);
    else {
      const of = (share, whole) => (share === null ? "none" : share > 0 && share < 1.5e-6 ? "below 1.5e-4 %" : percent(share) + (whole === null || whole === undefined ? "" : ` (update ${percent(share * whole)})`));
      facts.push(["π", probability(t.pi)], ["π old", probability(t.old)], ["w", number(t.w)], ["A", number(t.a)], ["∂L/∂log π", number(t.g)],
        [`${names()[0]}’s share`, of(t.before, sample.ub)], [`${names()[1]}’s share`, of(t.after, sample.us)], ["bucket", t.bucket === null ? "–" : BUCKETS[t.bucket]]);
    }
    details.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    return facts.map(([name, value]) => `${name} ${value}`).join(", ");
  }

  open(stepsOf(state.run).at(-1));
  return open;
}
