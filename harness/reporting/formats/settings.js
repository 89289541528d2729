"use strict";
// The chart of settings: each against an outcome, rank and learning rate as a plane, or all trials
// as lines over parallel axes. It is drawn when its part of the page is opened.
(() => {
  const { say, shown } = page;
  const part = document.getElementById("settings");
  const chart = document.getElementById("settings-chart");
  if (!chart) return;
  const note = document.getElementById("settings-note");
  if (!globalThis.vegaEmbed) {
    for (const one of [part.querySelector(".choices"), chart, note]) one.remove();
    return;
  }
  const { objectives, methods } = JSON.parse(document.getElementById("settings-data").textContent);
  const choices = Object.fromEntries(
    ["method", "outcome", "view"].map((name) => [name, document.getElementById(`settings-${name}`)]));
  const status = {
    complete: say("complete"), pruned: say("pruned"), infeasible: say("infeasible"),
    diverged: say("diverged"), failed: say("failed"),
  };
  methods.forEach((method, at) => choices.method.add(new Option(method.name, at)));
  objectives.forEach((objective, at) => choices.outcome.add(new Option(objective.title, at)));

  function offerViews() {
    const { plane, settings } = methods[choices.method.value];
    const kept = choices.view.value;
    const views = [["slices", say("each setting alone")]];
    if (plane) views.push(["plane", say("rank × learning rate")]);
    if (settings.length > 1) views.push(["lines", say("parallel coordinates")]);
    choices.view.replaceChildren(...views.map(([name, words]) => new Option(words, name)));
    if (views.some(([name]) => name === kept)) choices.view.value = kept;
  }

  const told = (value) => typeof value === "number" ? shown(value) : value ?? "–";
  // Bright is better, in both directions of an objective.
  const shade = (objective) => ({ scheme: "viridis", reverse: objective.better === "less" });

  function rowsOf(method, outcome) {
    return method.trials.map((trial) => ({
      ...trial, score: trial.scores[outcome],
      said: `${method.name} ${trial.n}, ${status[trial.status]}: `
        + method.settings.map((s, at) => `${s.title}=${told(trial.settings[at])}`).join(", ")
        + ` → ${objectives.map((o, at) => `${o.title} ${told(trial.scores[at])}`).join(", ")}`,
    }));
  }

  function slices(method, objective, rows, look) {
    const columns = Math.min(method.settings.length, Math.max(1, Math.floor(look.width / 300)));
    const width = Math.floor(look.width / columns) - 84;
    const tooltip = { field: "said" };
    return {
      columns, spacing: 24,
      concat: method.settings.map((setting, at) => {
        const x = setting.number
          ? { field: "value", type: "quantitative", title: setting.title, scale: { ...(setting.log ? { type: "log" } : { zero: false }), nice: false, padding: 10 },
            axis: { tickCount: 5, format: ".2~g", ...(setting.ticks && { values: setting.ticks }) } }
          : { field: "value", type: "ordinal", title: setting.title };
        return {
          width, height: 220,
          data: { values: rows.map((row) => ({ ...row, value: row.settings[at] })).filter((row) => row.value !== null) },
          layer: [
            { transform: [{ filter: "datum.score !== null" }], mark: { type: "point", filled: true, size: 55, opacity: 0.75, color: look.colour },
              encoding: { x, y: { field: "score", type: "quantitative", title: at % columns ? null : objective.title, scale: { zero: false } }, tooltip, description: tooltip } },
            { transform: [{ filter: "datum.score === null" }], mark: { type: "text", text: "×", fontSize: 15, color: look.quiet, dy: -6 },
              encoding: { x, y: { value: 220 }, tooltip, description: tooltip } },
          ],
        };
      }),
    };
  }

  // Rates that are many are put into six bins of equal width on a logarithm.
  function bins(values) {
    const distinct = [...new Set(values)].sort((a, b) => a - b);
    if (distinct.length <= 8) return { of: (value) => distinct.indexOf(value), names: distinct.map(shown) };
    const [low, high] = [Math.log(distinct[0]), Math.log(distinct.at(-1))];
    const edge = (at) => Math.exp(low + (at / 6) * (high - low));
    return {
      of: (value) => Math.min(5, Math.floor(6 * (Math.log(value) - low) / (high - low))),
      names: [0, 1, 2, 3, 4, 5].map((at) => `${shown(edge(at))} – ${shown(edge(at + 1))}`),
    };
  }

  function plane(method, objective, rows, look) {
    const [rank, rate] = method.plane;
    const known = rows.filter((row) => row.settings[rank] !== null && row.settings[rate] !== null);
    const binned = bins(known.map((row) => row.settings[rate]));
    const cells = new Map();
    for (const row of known) {
      const [x, y] = [row.settings[rank], binned.of(row.settings[rate])];
      const cell = cells.get(`${x} ${y}`) ?? { x, y: binned.names[y], order: y, scores: [], trials: 0 };
      cell.trials += 1;
      if (row.score !== null) cell.scores.push(row.score);
      cells.set(`${x} ${y}`, cell);
    }
    const values = [...cells.values()].map(({ scores, ...cell }) => {
      const sorted = scores.toSorted((a, b) => a - b);
      const middle = sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : null;
      const says = middle === null ? say("no score") : shown(middle);
      return { ...cell, middle, text: middle === null ? "×" : shown(middle),
        said: `${method.settings[rank].title}=${cell.x}, ${method.settings[rate].title} ${cell.y}: ${says} (${sorted.length}/${cell.trials})` };
    });
    const middles = values.map((cell) => cell.middle).filter((middle) => middle !== null);
    const [low, high] = [Math.min(...middles), Math.max(...middles)];
    for (const cell of values) {
      const bright = (cell.middle - low) / (high - low || 1);
      cell.dark = cell.middle !== null && (objective.better === "less" ? 1 - bright : bright) < 0.55;
    }
    const place = {
      x: { field: "x", type: "ordinal", title: method.settings[rank].title, axis: { labelAngle: 0 } },
      y: { field: "y", type: "ordinal", title: method.settings[rate].title, sort: binned.names.toReversed() },
      tooltip: { field: "said" }, description: { field: "said" },
    };
    return {
      width: "container", height: 300, data: { values },
      layer: [
        { transform: [{ filter: "datum.middle !== null" }], mark: { type: "rect" },
          encoding: { ...place, color: { field: "middle", type: "quantitative", title: objective.title, scale: shade(objective),
            legend: { orient: "bottom", gradientLength: Math.min(320, look.width - 80) } } } },
        { mark: { type: "text", fontSize: 12 },
          encoding: { ...place, text: { field: "text" }, color: { condition: [
            { test: "datum.middle === null", value: look.quiet }, { test: "datum.dark", value: "#ffffff" }], value: "#000000" } } },
      ],
    };
  }

  function lines(method, objective, rows, look) {
    const axes = [
      ...method.settings.map((setting, at) => ({ ...setting, of: (row) => row.settings[at] })),
      ...objectives.map((one, at) => ({ title: one.title, number: true, of: (row) => row.scores[at] })),
    ];
    const values = [], ends = [];
    axes.forEach((axis, at) => {
      const given = rows.map(axis.of).filter((value) => value !== null);
      const names = axis.number ? [] : [...new Set(given)].sort();
      const scaled = (value) => !axis.number ? names.indexOf(value) : axis.log ? Math.log(value) : value;
      const [low, high] = [Math.min(...given.map(scaled)), Math.max(...given.map(scaled))];
      const place = (value) => high > low ? (scaled(value) - low) / (high - low) : 0.5;
      for (const row of rows) {
        const value = axis.of(row);
        if (value !== null) values.push({ n: row.n, score: row.score, said: row.said, axis: axis.title, at, place: place(value) });
      }
      const marked = axis.number ? [Math.min(...given), Math.max(...given)] : names;
      for (const value of new Set(marked)) ends.push({ axis: axis.title, place: place(value), text: told(value), dy: place(value) > 0.5 ? -9 : 11 });
    });
    const x = { field: "axis", type: "point", sort: axes.map((axis) => axis.title), title: null, scale: { type: "point", padding: 0.35 },
      axis: { labelAngle: 0, labelLimit: look.width / axes.length - 6, grid: true, domain: false, ticks: false, labelPadding: 22 } };
    const y = { field: "place", type: "quantitative", axis: null, scale: { domain: [0, 1] } };
    const across = { x: { ...x, type: "ordinal" }, y, detail: { field: "n" }, order: { field: "at" }, tooltip: { field: "said" }, description: { field: "said" } };
    return {
      width: "container", height: 320, data: { values },
      layer: [
        { transform: [{ filter: "datum.score === null" }], mark: { type: "line", strokeDash: [3, 3], strokeWidth: 1.4, color: look.quiet, opacity: 0.55 }, encoding: across },
        { transform: [{ filter: "datum.score !== null" }], mark: { type: "line" },
          params: [{ name: "over", select: { type: "point", on: "pointerover", clear: "pointerout", fields: ["n"] } }],
          encoding: { ...across,
            color: { field: "score", type: "quantitative", title: objective.title, scale: shade(objective), legend: { orient: "bottom", gradientLength: Math.min(320, look.width - 80) } },
            strokeWidth: { condition: { param: "over", empty: false, value: 4 }, value: 1.6 },
            opacity: { condition: { param: "over", value: 0.9 }, value: 0.15 } } },
        { data: { values: ends }, mark: { type: "text", fontSize: 12, color: look.ink, dy: { expr: "datum.dy" } }, encoding: { x: { ...x, type: "ordinal" }, y, text: { field: "text" } } },
      ],
    };
  }

  async function draw() {
    if (!part.open || !chart.clientWidth) return;
    const method = methods[choices.method.value], objective = objectives[choices.outcome.value];
    const rows = rowsOf(method, choices.outcome.value);
    const look = { ...page.colours(), width: chart.clientWidth, colour: page.isDark() ? method.dark : method.light };
    const view = { slices, plane, lines }[choices.view.value];
    await page.embed(chart, view(method, objective, rows, look), "settings");
    const without = rows.filter((row) => row.score === null);
    const words = {
      slices: say("Other settings vary freely in each panel; × is a trial without a score."),
      plane: say("A cell has the median score of its trials; × is one without any score."),
      lines: say("A line is a trial; point at one to see it alone. A dashed one has no score."),
    };
    const counted = Object.keys(status).map((name) => [status[name], without.filter((row) => row.status === name).length]).filter(([, n]) => n);
    note.textContent = words[choices.view.value] + (without.length
      ? say(" Trials without a score: {parts}.", { parts: counted.map((pair) => pair.join(" ")).join(", ") }) : "");
  }

  choices.method.addEventListener("change", () => { offerViews(); draw(); });
  choices.outcome.addEventListener("change", draw);
  choices.view.addEventListener("change", draw);
  part.addEventListener("toggle", draw);
  part.closest("section.part")?.querySelector("details")?.addEventListener("toggle", draw);
  page.redrawn.push(draw);
  offerViews();
  draw();
})();
