"use strict";
// What a page does besides being read: light and dark, copying commands, sorting and filtering
// tables, and the front with axes of one's choice. Everything is also there without it.
const page = (() => {
  const root = document.documentElement;
  const translated = JSON.parse(document.querySelector("#sentences")?.textContent ?? "{}");
  const say = (text, values = {}) => (translated[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const find = (selector) => Array.from(document.querySelectorAll(selector));
  const isDark = () => {
    const chosen = root.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const redrawn = [];  // functions that draw again in another theme
  const redraw = () => redrawn.forEach((draw) => draw());

  const shown = (number) => {
    const size = Math.abs(number);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return number.toExponential(1);
    return number.toLocaleString("en", { maximumSignificantDigits: size >= 100 ? 6 : 3 });
  };
  const colours = () => {
    const style = getComputedStyle(root);
    return Object.fromEntries(["ink", "quiet", "line", "paper"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  };
  const embed = (place, spec, name) => {
    const { ink, quiet, line } = colours();
    return vegaEmbed(place, {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", background: null, ...spec,
      config: {
        font: getComputedStyle(document.body).fontFamily, view: { stroke: null },
        axis: { labelColor: quiet, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 12.5, titleFontWeight: 500 },
        legend: { labelColor: ink, titleColor: ink, labelFontSize: 12.5 },
      },
    }, {
      ast: true, renderer: "svg", mode: "vega-lite",
      actions: { export: true, source: false, compiled: false, editor: false },
      i18n: { SVG_ACTION: say("Save as SVG"), PNG_ACTION: say("Save as PNG"), CLICK_TO_VIEW_ACTIONS: say("Click to view actions") },
      downloadFileName: name, tooltip: { theme: isDark() ? "dark" : "light" },
    });
  };
  return { root, say, find, isDark, redrawn, redraw, shown, colours, embed };
})();

(() => {
  const { root, say, find, isDark, redrawn, redraw, shown } = page;

  root.classList.add("has-scripts");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });

  for (const button of find("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = say("Copied");
      } catch {  // a page that was opened from a file may not write the clipboard
        getSelection().selectAllChildren(code);
        button.textContent = say("Selected");
      }
      setTimeout(() => { button.textContent = say("Copy"); }, 1500);
    });
  }

  const openTarget = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", openTarget);
  for (const link of find('nav a[href^="#"]')) link.addEventListener("click", () => setTimeout(openTarget));
  openTarget();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = find("details:not([open])");
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

  // On a phone each row is a card: a long table begins with its first ones.
  for (const table of find("table.cards")) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= 6) continue;
    table.classList.add("long");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "all-rows";
    button.textContent = say("Show all {n} rows", { n: rows });
    button.addEventListener("click", () => { table.classList.remove("long"); button.remove(); });
    table.parentElement.after(button);
  }

  if (globalThis.DataTable) {
    for (const table of find("table.sortable")) {
      const rows = table.tBodies[0].rows.length;
      new DataTable(table, {
        paging: false, info: false, order: [], autoWidth: false, searching: rows > 8,
        language: { search: say("Filter") },
      });
    }
  }

  const data = document.getElementById("front-data");
  if (!data || !globalThis.vegaEmbed) {
    find(".drawn").forEach((one) => one.classList.remove("drawn"));
    find(".first .choices, .first .chart").forEach((one) => one.remove());
    return;
  }
  const front = JSON.parse(data.textContent);
  const stages = {
    search: say("search"), finalist: say("finalist"), chosen: say("chosen"), "not eligible": say("not eligible"), base: say("base"),
  };
  const axes = new Map(front.axes.map((axis) => [axis.key, axis]));
  const choices = { x: document.getElementById("front-x"), y: document.getElementById("front-y") };
  const search = document.getElementById("front-search");
  for (const side of ["x", "y"]) {
    for (const axis of front.axes) choices[side].add(new Option(axis.title, axis.key));
    choices[side].value = front[side];
    choices[side].addEventListener("change", () => draw());
  }
  search.addEventListener("change", () => draw());
  if (!front.points.some((point) => point.stage === "search")) search.parentElement.remove();
  const zoom = document.getElementById("front-zoom");
  const leading = front.points.filter((point) => point.leading).length;
  if (leading < 2 || leading === front.points.length) zoom.parentElement.remove();
  zoom.addEventListener("change", () => draw());

  const told = (value) => value.length < 3 ? shown(value[0])
    : `${shown(value[0])} [${shown(value[1])}, ${shown(value[2])}]`;

  function rowsFor(x, y) {
    return front.points.filter((point) => point.values[x] && point.values[y]).map((point) => {
      const [across, up] = [point.values[x], point.values[y]];
      return {
        label: point.label, name: point.stage === "base" ? point.label : point.method, method: point.method, stage: point.stage, stageSaid: stages[point.stage], of: point.of, leading: point.leading === true,
        x: across[0], xLow: across[1] ?? across[0], xHigh: across[2] ?? across[0],
        y: up[0], yLow: up[1] ?? up[0], yHigh: up[2] ?? up[0],
        across: told(across), up: told(up),
        said: `${point.label}, ${stages[point.stage]}: ${told(up)} ${axes.get(y).title}, ${told(across)} ${axes.get(x).title}`,
      };
    });
  }

  // The finalists that no other beats on both axes; none where an axis has no better side.
  function undominated(rows, x, y) {
    const sign = { more: -1, less: 1 };
    const [sx, sy] = [sign[axes.get(x).better], sign[axes.get(y).better]];
    if (!sx || !sy || x === y) return [];
    const finalists = rows.filter((row) => ["chosen", "finalist"].includes(row.stage));
    return finalists.filter((one) => !finalists.some((other) =>
      sx * other.x <= sx * one.x && sy * other.y <= sy * one.y &&
      (sx * other.x < sx * one.x || sy * other.y < sy * one.y)));
  }

  // Search trials far from every finalist would press the rest into a corner.
  function range(rows, low, high, log) {
    const kept = rows.filter((row) => zoom.checked ? row.leading : row.stage !== "search");
    const values = kept.flatMap((row) => [row[low], row[high]]).filter((v) => !log || v > 0);
    let [from, to] = [Math.min(...values), Math.max(...values)];
    for (const row of rows) {
      const value = row[low];
      const near = log ? value > from / 10 && value < to * 10
        : value > from - (to - from) / 2 && value < to + (to - from) / 2;
      if (near && !zoom.checked) [from, to] = [Math.min(from, value), Math.max(to, value)];
    }
    if (log) return [from / 1.2, to * 1.2];
    const margin = (to - from) * 0.06 || Math.abs(to) * 0.1 || 1;
    return [from - margin, to + margin];
  }

  const middle = ({ type, domain: [from, to] }) => type === "log" ? Math.sqrt(from * to) : (from + to) / 2;

  async function draw() {
    const [x, y] = [choices.x.value, choices.y.value];
    const dark = isDark();
    const { ink, quiet } = page.colours();
    let rows = rowsFor(x, y);
    if (!search.checked) rows = rows.filter((row) => row.stage !== "search");
    const methods = front.methods.filter((m) => rows.some((row) => row.method === m.name));
    const axis = (key) => {
      const { title, better } = axes.get(key);
      if (!better) return title;
      return better === "less" ? say("{title} (less is better)", { title }) : say("{title} (more is better)", { title });
    };
    const scale = (key, low, high) => {
      const log = axes.get(key).log && rows.every((row) => row[low] > 0);
      return { type: log ? "log" : "linear", nice: false, zero: false, clamp: false,
        domain: range(rows, low, high, log) };
    };
    const place = {
      x: { field: "x", type: "quantitative", scale: scale(x, "xLow", "xHigh"), title: axis(x) },
      y: { field: "y", type: "quantitative", scale: scale(y, "yLow", "yHigh"), title: axis(y) },
    };
    const wide = document.getElementById("front-chart").clientWidth > 460;
    const columns = wide ? 4 : 2;
    const legend = { title: null, orient: "bottom", columns, symbolSize: 90, symbolOpacity: 1 };
    const height = (wide ? 330 : 270) + 16 * Math.ceil(methods.length / columns);
    const colour = { field: "method", type: "nominal", legend, scale: {
      domain: methods.map((m) => m.name), range: methods.map((m) => dark ? m.dark : m.light) } };
    const shape = { field: "method", type: "nominal", legend, scale: {
      domain: methods.map((m) => m.name), range: methods.map((m) => m.shape) } };
    const faded = (shown) => ({ condition: { param: "picked", value: shown }, value: 0.06 });
    const only = (...stages) => [{ filter: { field: "stage", oneOf: stages } }];
    const tooltip = [
      { field: "label", title: say("configuration") }, { field: "stageSaid", title: say("stage") },
      { field: "of", title: say("measured with") },
      { field: "up", title: axes.get(y).title }, { field: "across", title: axes.get(x).title },
    ];
    const finalists = ["finalist", "chosen", "not eligible"];
    const base = { encoding: place, mark: { type: "point", filled: true, clip: true } };
    const spec = {
      width: "container", height, autosize: { type: "fit", contains: "padding" },
      data: { values: rows },
      layer: [
        { transform: only("search"), mark: { ...base.mark, size: 34 },
          params: [{ name: "picked", select: { type: "point", fields: ["method"] }, bind: "legend" }],
          encoding: { ...place, color: colour, shape, opacity: faded(0.3), tooltip, description: { field: "said" } } },
        { data: { values: undominated(rows, x, y).sort((a, b) => a.x - b.x) },
          mark: { type: "line", clip: true, strokeDash: [5, 4], strokeWidth: 1, color: quiet },
          encoding: { ...place, order: { field: "x" } } },
        { transform: only(...finalists), mark: { type: "rule", strokeWidth: 1.3, clip: true },
          encoding: { ...place, x: { ...place.x, field: "xLow" }, x2: { field: "xHigh" }, color: colour, opacity: faded(0.75) } },
        { transform: only(...finalists), mark: { type: "rule", strokeWidth: 1.3, clip: true },
          encoding: { ...place, y: { ...place.y, field: "yLow" }, y2: { field: "yHigh" }, color: colour, opacity: faded(0.75) } },
        { transform: only("chosen"), mark: { type: "point", size: 420, filled: false, clip: true, stroke: ink, strokeWidth: 1.5 }, encoding: place },
        // A label is on the side of its mark that has more room.
        ...[{ side: "<", align: "left", dx: 14 }, { side: ">=", align: "right", dx: -14 }].map(({ side, align, dx }) => (
          { transform: [{ filter: `(datum.stage == 'chosen' || datum.stage == 'base') && datum.x ${side} ${middle(place.x.scale)}` }],
            mark: { type: "text", clip: true, dx, dy: -12, align, color: ink, fontWeight: 600 },
            encoding: { ...place, text: { field: wide ? "label" : "name" } } })),
        { transform: only("base"), mark: { type: "point", shape: "M0,-1L.23,-.31L.95,-.31L.36,.12L.59,.81L0,.38L-.59,.81L-.36,.12L-.95,-.31L-.23,-.31Z", size: 190, filled: true, color: ink, clip: true },
          encoding: { ...place, tooltip, description: { field: "said" } } },
        { transform: only(...finalists), mark: { ...base.mark, size: 110, opacity: 1 },
          encoding: { ...place, color: colour, shape, opacity: faded(1), tooltip, description: { field: "said" } } },
      ],
    };
    await page.embed("#front-chart", spec, "front");
  }
  redrawn.push(draw);
  draw();
})();
