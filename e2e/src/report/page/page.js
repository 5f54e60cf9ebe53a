"use strict";
// Everything is written as text, never as HTML: names and messages come from clusters.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { runs, cases, texts, outcomes } = data;
  const byId = (id) => document.getElementById(id);
  const WORDS = { "failed": ["✗", "failed"], "passed": ["✓", "passed"], "not-run": ["○", "not run"] };

  /** An element with attributes and children; a child that is a string is text. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  const plural = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  const span = (seconds) => seconds < 90 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  const distinct = (values) => [...new Set(values)].filter(Boolean).sort();

  /** The numbers of a row, by name. */
  function read([from, to, sent, expected, observed, right, egress, ingress, seen, words]) {
    return {
      from: texts[from], to: texts[to], sent: texts[sent], right: right === 1,
      expected: outcomes[expected], observed: outcomes[observed],
      egress: texts[egress], ingress: texts[ingress], seen: texts[seen], words: texts[words],
    };
  }

  // === Summary ===

  function summary() {
    const count = (status) => cases.filter((c) => c.status === status).length;
    const [failed, passed, skipped] = ["failed", "passed", "not-run"].map(count);
    const verdict = byId("verdict");
    const status = failed ? "failed" : passed ? "passed" : "not-run";
    verdict.className = status;
    verdict.textContent = failed ? `${plural(failed, "case")} failed` : passed ? `${plural(passed, "case")} passed` : "nothing was run";
    document.title = `Ringfence: ${verdict.textContent}`;
    const bar = byId("bar");
    for (const [word, number] of [["failed", failed], ["passed", passed], ["not-run", skipped]]) {
      if (number) bar.append(make("span", { class: word, style: `flex:${number}`, title: `${number} ${WORDS[word][1]}` }));
    }
    bar.setAttribute("aria-label", `${passed} passed, ${failed} failed, ${skipped} not run`);
    let probes = 0, denied = 0, wrong = 0;
    for (const one of cases) for (const table of one.tables) for (const row of table.rows) {
      probes += 1;
      denied += row[3] === 1 || row[3] === 2;
      wrong += row[5] === 0;
    }
    const seconds = runs.reduce((sum, run) => sum + run.seconds, 0);
    const figures = [["passed", passed], ["failed", failed], ["not run", skipped], ["probes", probes],
      ["of these to be denied", denied], ["wrong", wrong]];
    const shown = figures.map(([name, number]) => [name, number.toLocaleString("en")]).concat([["time", span(seconds)]]);
    for (const [name, value] of shown) byId("figures").append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    const into = byId("runs").querySelector("div");
    for (const run of runs) {
      const order = run.shuffle === null ? "" : `, shuffled by seed ${run.shuffle}`;
      into.append(make("p", {}, make("code", {}, run.command), make("br"), `${run.fabric}, began ${run.began}, ${span(run.seconds)}${order}, ringfence-e2e ${run.version}`));
    }
    const reasons = new Map();
    for (const one of cases) if (one.status === "not-run") reasons.set(one.reason, [...(reasons.get(one.reason) ?? []), one.name]);
    byId("skipped").hidden = reasons.size === 0;
    byId("skipped").querySelector("summary").textContent = `${plural(skipped, "case")} not run, and why`;
    for (const [reason, names] of reasons) byId("skipped").querySelector("ul").append(make("li", {}, `${names.length}: ${reason}`));
  }

  // === Filter: what is chosen stands in the address, so that it can be sent to somebody ===

  const chosen = new URLSearchParams(location.hash.slice(1));

  function choices() {
    for (const [status, [, word]] of Object.entries(WORDS)) {
      const chip = make("button", { type: "button", class: `chip ${status}`, "data-status": status }, word);
      chip.addEventListener("click", () => choose("status", chosen.get("status") === status ? "" : status));
      byId("status").append(chip);
    }
    const seeds = distinct(cases.map((c) => (/^seed \d+/.exec(c.source) ?? [])[0]));
    const lists = {
      source: [...seeds, ...distinct(cases.map((c) => c.source))],
      fabric: distinct(cases.map((c) => c.fabric)),
      tag: distinct(cases.flatMap((c) => c.tags)),
    };
    for (const [key, values] of Object.entries(lists)) {
      const select = byId(key);
      select.append(make("option", { value: "" }, "all"), ...distinct(values).map((v) => make("option", { value: v }, v)));
      select.addEventListener("change", () => choose(key, select.value));
    }
    byId("text").addEventListener("input", () => choose("text", byId("text").value));
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      const writing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
      if (event.key === "/" && !writing) { event.preventDefault(); byId("text").focus(); }
      if (event.key === "Escape" && document.activeElement === byId("text")) { byId("text").value = ""; choose("text", ""); }
    });
  }

  function choose(key, value) {
    if (value) chosen.set(key, value); else chosen.delete(key);
    // A link to one case shows that alone, until somebody looks for something else.
    if (key !== "theme") chosen.delete("case");
    history.replaceState(null, "", `#${chosen}`);
    show();
  }

  /** What free text is looked for in; made when first asked for. */
  function haystack(one) {
    one.haystack ??= [one.name, one.source, one.reason, ...one.tags, ...one.notes, ...one.failures.map((f) => f.summary),
      ...new Set(one.tables.flatMap((t) => t.rows.flatMap((r) => [texts[r[6]], texts[r[7]], texts[r[0]]])))].join("\n").toLowerCase();
    return one.haystack;
  }

  function matches(one) {
    const words = (chosen.get("text") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const is = (key, test) => !chosen.get(key) || test(chosen.get(key));
    return is("status", (v) => one.status === v) && is("source", (v) => one.source.startsWith(v))
      && is("fabric", (v) => one.fabric === v) && is("tag", (v) => one.tags.includes(v))
      && is("case", (v) => one.name === v) && words.every((w) => haystack(one).includes(w));
  }

  function show() {
    for (const chip of byId("status").children) chip.setAttribute("aria-pressed", String(chosen.get("status") === chip.dataset.status));
    for (const key of ["source", "fabric", "tag", "text"]) byId(key).value = chosen.get(key) ?? "";
    let number = 0;
    for (const one of cases) {
      const fits = matches(one);
      one.element.hidden = !fits;
      number += fits;
    }
    byId("count").textContent = `${number} of ${plural(cases.length, "case")}`;
  }

  // === Cases ===

  function list() {
    const order = ["failed", "passed", "not-run"];
    const sorted = [...cases].sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status));
    for (const one of sorted) {
      const [mark, word] = WORDS[one.status];
      const flips = one.notes.filter((n) => n.startsWith("flaky")).length;
      const name = make("span", { class: "name" }, one.name, flips ? ` (${flips} flaky)` : "");
      one.element = make("details", { class: `case ${one.status}`, "data-name": one.name },
        make("summary", {}, make("span", { class: "mark", role: "img", "aria-label": word }, mark), name,
          make("span", { class: "from" }, one.source), make("span", { class: "time" }, one.status === "not-run" ? "not run" : span(one.seconds))));
      one.element.addEventListener("toggle", () => { if (one.element.open && !one.filled) fill(one); });
      byId("cases").append(one.element);
    }
    if (!cases.length) byId("cases").append(make("p", { class: "note" }, "No cases."));
  }

  function fill(one) {
    one.filled = true;
    const body = make("div", { class: "body" });
    const facts = make("div", { class: "facts" });
    if (one.reason) facts.append(make("div", {}, `Not run: ${one.reason}`));
    facts.append(make("div", {}, `${one.source} · ${one.fabric} · ${one.seconds.toFixed(2)} s, of which ${one.waited.toFixed(2)} s waiting for enforcers`));
    if (one.tags.length) facts.append(make("div", { class: "tags" }, ...one.tags.map((t) => make("span", {}, t))));
    facts.append(make("div", {}, "Again: ", make("code", {}, one.repeat)));
    for (const note of one.notes) facts.append(make("div", {}, note));
    body.append(facts);
    const isWrong = (table) => table.rows.some((row) => row[5] === 0);
    const tables = [...one.tables.filter(isWrong), ...one.tables.filter((t) => !isWrong(t))].map((t) => matrix(t, one));
    const wrong = one.failures.length ? [failures(one)] : [];
    const first = tables.length ? [tables[0], legend()] : [];
    body.append(...first, ...wrong, ...tables.slice(1));
    one.element.append(body);
  }

  /** The first ones, which have been looked into, and the others folded. */
  function failures(one) {
    const all = one.failures.map(failure);
    const rest = all.splice(3);
    const element = make("div", {}, make("h2", {}, `${plural(one.failures.length, "thing")} wrong`), ...all);
    if (rest.length) element.append(make("details", { class: "more" }, make("summary", {}, `and ${rest.length} more`), ...rest));
    return element;
  }

  /** Its detail: the verdict, then a part for each node that begins with `--- NODE (...)`. */
  function failure(wrong) {
    const element = make("div", { class: "failure" }, make("p", {}, wrong.summary));
    const [first, ...nodes] = wrong.detail.split(/^--- /m);
    if (first.trim()) element.append(make("pre", { class: "said", tabindex: "0" }, first.trim()));
    if (nodes.length) element.append(evidence(nodes));
    return element;
  }

  function evidence(nodes) {
    const parts = nodes.map((text) => {
      const end = text.indexOf("\n");
      return make("div", {}, make("h3", {}, text.slice(0, end)), make("pre", { tabindex: "0" }, text.slice(end + 1).trim() || "nothing counted it"));
    });
    return make("details", {}, make("summary", {}, `Rules, sets and conntrack of ${plural(nodes.length, "node")}`), make("div", { class: "nodes" }, ...parts));
  }

  function matrix(table, one) {
    const rows = table.rows.map(read);
    const froms = distinct(rows.map((r) => r.from)), tos = distinct(rows.map((r) => r.to));
    const cells = new Map();
    for (const row of rows) {
      const key = `${row.from}\n${row.to}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(row);
    }
    const told = make("div", { class: "told", "aria-live": "polite" });
    const head = make("tr", {}, make("th", {}, "from \\ to"), ...tos.map((to) => make("th", { scope: "col" }, to)));
    const lines = froms.map((from) => make("tr", {}, make("th", { scope: "row" }, from),
      ...tos.map((to) => make("td", {}, ...(cells.has(`${from}\n${to}`) ? [button(cells.get(`${from}\n${to}`), told, one)] : [])))));
    const grid = make("table", { class: "matrix" }, make("thead", {}, head), make("tbody", {}, ...lines));
    const buttons = [...grid.querySelectorAll("button")];
    const first = buttons.find((b) => b.classList.contains("wrong")) ?? buttons[0];
    if (first) { first.tabIndex = 0; first.tell(); }
    grid.addEventListener("keydown", (event) => walk(event, grid));
    return make("figure", { class: "table" }, make("figcaption", {}, caption(table.title, rows)), make("div", { class: "scroll" }, grid), told);
  }

  function caption(title, rows) {
    const wrong = rows.filter((r) => !r.right).length;
    return `${title}: ${plural(rows.length, "probe")}, ${wrong ? `${wrong} wrong` : "all right"}`;
  }

  /** A cell: a stripe for each probe, and letters as in the terminal. */
  function button(rows, told, one) {
    const wrong = rows.some((r) => !r.right);
    const letters = (key) => { const all = rows.map((r) => r[key].letter); return new Set(all).size === 1 ? all[0] : ""; };
    const text = wrong ? `${letters("expected") || "~"}›${letters("observed") || "~"}` : letters("observed");
    const label = `${rows[0].from} to ${rows[0].to}: ${rows.map((r) => `${r.sent} ${r.right ? r.observed.word : `expected ${r.expected.word}, observed ${r.observed.word}`}`).join("; ")}`;
    const element = make("button", { type: "button", class: wrong ? "cell wrong" : "cell", tabindex: "-1", "aria-label": label },
      ...rows.map((r) => make("i", { class: r.observed.word })), make("b", {}, text));
    element.tell = () => tell(rows, told, one);
    // What is pinned by a click stays while the pointer passes over others.
    element.addEventListener("mouseenter", () => { if (!told.pinned) element.tell(); });
    element.addEventListener("focus", () => { if (!told.pinned) element.tell(); });
    element.addEventListener("click", () => {
      const before = told.pinned;
      before?.classList.remove("pinned");
      told.pinned = before === element ? null : element;
      told.pinned?.classList.add("pinned");
      element.tell();
    });
    return element;
  }

  /** Its probes, what decided at each end, and for a wrong one what both nodes have of it. */
  function tell(rows, told, one) {
    const word = (outcome) => make("span", { class: `word ${outcome.word}` }, outcome.word);
    const alike = new Map();
    for (const row of rows) {
      const key = [row.expected.word, row.observed.word, row.egress, row.ingress].join("\n");
      alike.set(key, [...(alike.get(key) ?? []), row]);
    }
    const items = [...alike.values()].map((same) => {
      const [row] = same;
      const item = make("li", {}, make("b", {}, same.map((r) => r.sent).join(", ")), " ");
      if (row.right) item.append(word(row.observed));
      else item.append(make("span", { class: "wrong-word" }, "expected "), word(row.expected), make("span", { class: "wrong-word" }, " observed "), word(row.observed));
      const all = (key) => distinct(same.map((r) => r[key])).join(", ");
      const why = [["leaving", row.egress], ["arriving", row.ingress], ["the server saw", all("seen")], ["said", row.right ? "" : all("words")]];
      for (const [what, text] of why) if (text) item.append(make("div", { class: "why" }, `${what}: ${text}`));
      const wrong = row.right ? null : one.failures.find((f) => f.detail.includes("\n--- ") && same.some((r) => f.summary.includes(`${r.from} -> ${r.to} ${r.sent}`)));
      if (wrong) item.append(evidence(wrong.detail.split(/^--- /m).slice(1)));
      return item;
    });
    told.replaceChildren(make("h3", {}, `${rows[0].from} → ${rows[0].to}`), make("ul", {}, ...items));
  }

  /** Arrows go from cell to cell; Home and End along a row. One cell is in the tab order. */
  function walk(event, grid) {
    const lines = [...grid.tBodies[0].rows].map((tr) => [...tr.cells].slice(1).map((td) => td.firstElementChild));
    const y = lines.findIndex((line) => line.includes(document.activeElement));
    if (y < 0) return;
    const x = lines[y].indexOf(document.activeElement);
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    let target = null;
    if (step) for (let [i, j] = [y + step[0], x + step[1]]; lines[i]?.[j] !== undefined && !target; i += step[0], j += step[1]) target = lines[i][j];
    if (event.key === "Home") target = lines[y].find(Boolean);
    if (event.key === "End") target = lines[y].findLast(Boolean);
    if (!target) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }

  function legend() {
    const items = outcomes.map((o) => make("span", {}, make("i", { class: o.word }, o.letter), o.word));
    return make("div", { class: "legend" }, ...items, make("span", {}, "R›. expected rejected, observed allowed; ~ and stripes: its probes differ"));
  }

  // === Colours ===

  function theme() {
    const names = { "": ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
    const order = Object.keys(names);
    const set = (value) => {
      document.documentElement.dataset.theme = value;
      [byId("theme").textContent] = names[value];
      byId("theme").setAttribute("aria-label", `Colours: ${names[value][1]}`);
    };
    set(names[chosen.get("theme") ?? ""] ? chosen.get("theme") ?? "" : "");
    byId("theme").addEventListener("click", () => {
      const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
      set(next);
      choose("theme", next);
    });
  }

  theme();
  summary();
  choices();
  list();
  show();
  const open = cases.filter((one) => !one.element.hidden && (one.status === "failed" || chosen.get("case") === one.name));
  for (const one of open.slice(0, 3)) one.element.open = true;
})();
