"use strict";
// The report's browser of predictions. Texts of models are only ever set as text, never as markup.

(() => {
  const ROWS = 50;
  const FATES = { "00": "wrong", "01": "gained", 10: "lost", 11: "right" };
  const MARKS = { 1: ["✓", "hit"], 0: ["✗", "missed"], "-": ["–", "not asked"] };

  if (!document.getElementById("browse")) return; // nothing was asked, only measured
  const data = JSON.parse(document.getElementById("predictions").textContent);
  const form = document.getElementById("filters");
  const fields = form.elements;
  const list = document.getElementById("needles");
  const needles = data.benchmarks.flatMap((benchmark) => benchmark.ids.map((id, row) => ({ benchmark, id, row })));

  let matching = needles;
  let page = 0;

  // ---- What is looked for (a form's `length` is its number of fields, so that of a context is called `tokens`)

  const shown = (number) => (typeof data.texts[number] === "string" ? data.texts[number] : data.texts[number][0]);
  const textsOf = ({ benchmark, row }) =>
    [benchmark.questions, benchmark.golds, benchmark.accepted, ...benchmark.outputs].map((column) => column[row]);
  const hit = ({ benchmark, row }, run, score = "") => benchmark.hits[score][run][row];
  const fate = (needle, run) => FATES[hit(needle, 0) + hit(needle, run)] ?? "";

  function search() {
    const [query, run] = [fields.text.value.trim().toLowerCase(), Number(fields.run.value)];
    // Each text is looked at once, however many needles share it.
    const holds = query && data.texts.map((_, number) => shown(number).toLowerCase().includes(query));
    const holdsIt = (needle) =>
      needle.id.toLowerCase().includes(query) || textsOf(needle).some((number) => holds[number]);
    const wanted = (field, value) => !fields[field].value || fields[field].value === String(value);
    matching = needles.filter(
      (needle) =>
        wanted("benchmark", needle.benchmark.name) &&
        wanted("place", needle.benchmark.places[needle.row]) &&
        wanted("tokens", needle.benchmark.lengths[needle.row]) &&
        (!fields.fate.value || fields.fate.value === fate(needle, run)) &&
        (!query || holdsIt(needle)),
    );
    show(0);
  }

  // ---- Drawing: a page of rows, and of a needle all there is once it is opened

  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  }

  function show(number) {
    page = number;
    const pages = Math.max(1, Math.ceil(matching.length / ROWS));
    const count = matching.length.toLocaleString("en");
    document.getElementById("count").textContent =
      `${count} of ${needles.length.toLocaleString("en")} needles, page ${page + 1} of ${pages}`;
    document.getElementById("previous").disabled = page === 0;
    document.getElementById("next").disabled = page + 1 >= pages;
    list.replaceChildren(...matching.slice(page * ROWS, (page + 1) * ROWS).map(drawRow));
  }

  function drawRow(needle) {
    const { benchmark, row } = needle;
    const marks = data.runs.map((name, run) => {
      const [sign, meaning] = MARKS[hit(needle, run)];
      const mark = make("span", meaning.replace(" ", "-"), sign);
      mark.title = `${name}: ${meaning}`;
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", mark.title);
      return mark;
    });
    const text = data.texts[benchmark.questions[row]];
    const rest = benchmark.shared ? `…${shown(benchmark.questions[row]).slice(benchmark.shared)}` : text;
    const question = typeof text === "string" ? rest : `…${text[0].slice(-200)}`;
    const length = benchmark.lengths[row];
    const where = [benchmark.name, benchmark.places[row], length && `${length.toLocaleString("en")} tokens`];
    const summary = make(
      "summary", "",
      make("span", "marks", ...marks), make("span", "line", question),
      make("span", "where", where.filter(Boolean).join(" · ")),
    );
    const details = make("details", "needle", summary);
    details.dataset.id = needle.id;
    details.dataset.benchmark = benchmark.name;
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector("dl")) details.append(...drawNeedle(needle));
      if (details.open) remember(needle);
    });
    return details;
  }

  function drawNeedle(needle) {
    const { benchmark, row } = needle;
    const accepted = shown(benchmark.accepted[row]).split(" · ");
    const facts = make("dl");
    const fact = (name, ...values) => facts.append(make("dt", "", name), make("dd", "", ...values));
    fact("Question", ...drawText(benchmark.questions[row], []));
    if (shown(benchmark.golds[row])) fact("Gold item", ...drawText(benchmark.golds[row], accepted));
    fact("Accepted", ...drawText(benchmark.accepted[row], []));
    fact("Prompt", `${benchmark.tokens[row].toLocaleString("en")} tokens`);
    const link = make("a", "", needle.id);
    link.href = `#${new URLSearchParams({ benchmark: benchmark.name, needle: needle.id })}`;
    fact("Needle", link);
    return [facts, make("div", "pair", ...data.runs.map((name, run) => drawOutput(needle, name, run, accepted)))];
  }

  function drawOutput(needle, name, run, accepted) {
    const { benchmark, row } = needle;
    const scores = Object.keys(benchmark.hits).map((score) => {
      const found = hit(needle, run, score);
      const meaning = MARKS[found][1];
      // Of some further scores, such as "invented", a hit is no success.
      return score ? make("span", "", `${score}: ${{ 1: "yes", 0: "no" }[found] ?? meaning}`)
        : make("span", meaning.replace(" ", "-"), meaning);
    });
    const heading = make("h4", "", `${name} `, ...scores.flatMap((each, index) => (index ? [", ", each] : [each])));
    const number = benchmark.outputs[run][row];
    const output = number >= 0 && shown(number) ? make("pre", "", ...drawText(number, accepted))
      : make("p", "quiet", number >= 0 ? "(no output)" : "(not asked)");
    const said = make("div", "said", heading, output);
    said.style.borderColor = data.colors[run % data.colors.length];
    return said;
  }

  function drawText(number, accepted) {
    const text = data.texts[number];
    const parts = marked(shown(number), [...accepted, fields.text.value.trim()].filter(Boolean));
    if (typeof text === "string") return parts;
    const note = ` (${text[0].length.toLocaleString("en")} of ${text[1].toLocaleString("en")} characters)`;
    return [...parts, make("span", "quiet", note)];
  }

  // The text in pieces, those in <mark> that are one of the words.
  function marked(text, words) {
    const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    if (!pattern) return [text];
    return text.split(new RegExp(`(${pattern})`, "i")).map((part, index) => (index % 2 ? make("mark", "", part) : part));
  }

  // ---- The address holds the filters and the open needle, so that a view can be sent to somebody

  const chosen = () => [...new FormData(form)].filter(([name, value]) => value && !(name === "run" && value === "1"));

  function remember(needle) {
    const address = new URLSearchParams(chosen());
    if (needle) {
      address.set("benchmark", needle.benchmark.name);
      address.set("needle", needle.id);
    }
    history.replaceState(null, "", `#${address}`);
  }

  function follow() {
    const address = new URLSearchParams(location.hash.slice(1));
    const names = ["benchmark", "place", "tokens", "run", "fate", "text"];
    if (![...names, "needle"].some((name) => address.has(name))) return search();
    fields.benchmark.value = address.get("benchmark") ?? "";
    offer();
    for (const name of names) fields[name].value = address.get(name) ?? (name === "run" ? "1" : "");
    search();
    document.getElementById("browse").scrollIntoView();
    if (address.has("needle")) open(address.get("needle"));
  }

  function open(id) {
    const index = matching.findIndex((needle) => needle.id === id);
    if (index < 0) {
      list.replaceChildren(make("p", "quiet", `There is no needle ${id} here.`));
      return;
    }
    show(Math.floor(index / ROWS));
    const details = list.children[index % ROWS];
    details.open = true;
    details.scrollIntoView();
    details.firstChild.focus({ preventScroll: true });
  }

  // ---- The controls

  function offer() {
    const chosen = data.benchmarks.filter(({ name }) => !fields.benchmark.value || name === fields.benchmark.value);
    for (const [field, column] of [["place", "places"], ["tokens", "lengths"]]) {
      const values = [...new Set(chosen.flatMap((each) => each[column]))].filter((value) => value !== "" && value !== null);
      values.sort((a, b) => parseFloat(a) - parseFloat(b));
      fill(fields[field], values.map((value) => [String(value), String(value)]));
    }
  }

  function fill(select, options) {
    const kept = select.value;
    const added = options.map(([value, label]) => new Option(label, value));
    select.replaceChildren(...[...select.options].filter((option) => !option.value), ...added);
    select.value = options.some(([value]) => value === kept) ? kept : "";
    select.closest("label").hidden = options.length < 2;
  }

  function step(change) {
    const summaries = [...list.querySelectorAll("summary")];
    const next = summaries.indexOf(document.activeElement) + change;
    const end = (page + 1) * ROWS < matching.length;
    if (next >= 0 && next < summaries.length) summaries[next].focus();
    else if (next < 0 ? page > 0 : end) {
      show(page + change);
      list.children[next < 0 ? list.children.length - 1 : 0].firstChild.focus();
    }
  }

  fill(fields.benchmark, data.benchmarks.map(({ name, title }) => [name, title]));
  fill(fields.run, data.runs.map((name, run) => [String(run), name]).slice(1));
  fields.run.value = "1";
  offer();

  let waiting;
  form.addEventListener("input", (event) => {
    if (event.target === fields.benchmark) offer();
    clearTimeout(waiting);
    waiting = setTimeout(() => { search(); remember(); }, event.target === fields.text ? 150 : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { fields.run.value = "1"; offer(); search(); remember(); }));
  for (const [id, change] of [["previous", -1], ["next", 1]])
    document.getElementById(id).addEventListener("click", () => {
      show(page + change);
      document.getElementById("browse").scrollIntoView();
    });
  list.addEventListener("keydown", (event) => {
    const change = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!change || event.target.tagName !== "SUMMARY") return;
    event.preventDefault();
    step(change);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select")) return;
    event.preventDefault();
    fields.text.focus();
  });
  addEventListener("hashchange", follow);
  follow();
})();
