// The table of all runs: what is filtered, how it is sorted, which of it is on the screen.
const CHUNK = 150;
const CHOICES = ["method", "protocol", "data", "preset", "seed"];
const collator = new Intl.Collator("en", { numeric: true });

const runs = {
  columns: data.columns,
  place: Object.fromEntries(data.columns.map((column, i) => [column.key, i])),
  all: data.rows,
  found: [],
  drawn: 0,
  scrolled: 0,
  state: { q: "", sort: "" },

  setUp() {
    this.body = document.querySelector("#runs tbody");
    this.box = document.querySelector("#runs-box");
    this.words = document.getElementById("words");
    // what words are looked for in, once a row
    this.texts = this.all.map((row) => row.join(" ").toLowerCase());
    this.setUpHead();
    this.setUpChoices();
    this.words.addEventListener("input", () => this.set("q", this.words.value));
    this.body.addEventListener("click", (event) => this.open(event));
    document.getElementById("more").addEventListener("click", () => this.more(true));
    document.getElementById("csv").addEventListener("click", () => this.save());
    document.getElementById("clear").addEventListener("click", () => this.clear());
    addEventListener("scroll", () => {
      if (here().page === "") this.scrolled = scrollY;
    });
    const seen = new IntersectionObserver(
      (entries) => entries.some((one) => one.isIntersecting) && this.more(),
      { root: this.box, rootMargin: "600px" },
    );
    seen.observe(document.getElementById("end"));
    addEventListener("beforeprint", () => {
      while (this.drawn < this.found.length) this.more();
    });
  },

  setUpHead() {
    const row = document.querySelector("#runs thead tr");
    for (const column of this.columns) {
      const button = el("button", { type: "button" }, column.title);
      button.append(el("span", { class: "arrow", "aria-hidden": "true" }));
      button.addEventListener("click", () => this.sortBy(column));
      const number = isNumber(column) ? "num" : null;
      row.append(el("th", { scope: "col", class: number, "data-key": column.key }, button));
    }
  },

  setUpChoices() {
    for (const key of CHOICES) {
      const select = document.getElementById(`choose-${key}`);
      const values = [...new Set(this.all.map((row) => String(row[this.place[key]])))];
      values.sort(collator.compare);
      for (const value of values) select.append(el("option", { value }, value));
      select.addEventListener("change", () => this.set(key, select.value));
    }
  },

  /** Show what an address says. */
  restore(state) {
    const keys = ["q", "sort", ...CHOICES];
    this.state = Object.fromEntries(keys.map((key) => [key, state.get(key) || ""]));
    if (this.words.value !== this.state.q) this.words.value = this.state.q;
    for (const key of CHOICES) document.getElementById(`choose-${key}`).value = this.state[key];
    this.update();
  },

  /** The address of the table as it is now. */
  hash() {
    const set = Object.entries(this.state).filter(([, value]) => value);
    return `#/${set.length ? `?${new URLSearchParams(set)}` : ""}`;
  },

  set(key, value) {
    this.state[key] = value;
    // as long as one types, going back should leave the table, not letters
    history.replaceState(null, "", this.hash());
    this.update();
  },

  clear() {
    this.state = { q: "", sort: this.state.sort };
    this.set("q", "");
    this.restore(here().state);
  },

  /** A number's best values first, then its least, then as it was; texts begin with A. */
  sortBy(column) {
    const order = isNumber(column) ? [`-${column.key}`, column.key] : [column.key, `-${column.key}`];
    this.set("sort", [...order, ""][order.indexOf(this.state.sort) + 1]);
  },

  update() {
    const tests = this.tests();
    this.found = [];
    this.all.forEach((row, i) => {
      if (tests.every((test) => test(row, this.texts[i]))) this.found.push(row);
    });
    this.sort();
    this.body.replaceChildren();
    this.drawn = 0;
    this.box.scrollTop = 0;
    this.more();
    const ids = new Set(this.found.map((row) => row[this.place.run]));
    const all = this.found.length === this.all.length ? "" : ` of ${this.all.length}`;
    document.getElementById("count").textContent =
      `${this.found.length}${all} results of ${ids.size} runs`;
    document.getElementById("no-rows").classList.toggle("hidden", this.found.length > 0);
  },

  tests() {
    const tests = CHOICES.filter((key) => this.state[key]).map((key) => {
      const [at, wanted] = [this.place[key], this.state[key]];
      return (row) => String(row[at]) === wanted;
    });
    const words = this.state.q.toLowerCase().replaceAll("→", "->").split(/\s+/).filter(Boolean);
    return [...tests, ...words.map((word) => this.test(word))];
  },

  /** `seed:1`, `mAP>30`, a leading - for all others; any other word is looked for everywhere. */
  test(word) {
    if (word.length > 1 && word[0] === "-") {
      const inner = this.test(word.slice(1));
      return (row, text) => !inner(row, text);
    }
    const [, key, sign, value] = word.match(/^([\w-]+)(:|[<>]=?)(.+)$/) || [];
    const at = this.columns.findIndex((column) => column.key.toLowerCase() === key);
    if (at < 0) return (row, text) => text.includes(word);
    const number = Number(value);
    if (sign === ":") {
      return isNumber(this.columns[at]) && value !== "" && !Number.isNaN(number)
        ? (row) => row[at] === number
        : (row) => String(row[at] ?? "").toLowerCase().includes(value);
    }
    return (row) => row[at] !== null && compared[sign](row[at], number);
  },

  sort() {
    const down = this.state.sort.startsWith("-");
    const at = this.place[this.state.sort.replace(/^-/, "")];
    for (const head of document.querySelectorAll("#runs thead th")) {
      const mine = this.place[head.dataset.key] === at;
      if (mine) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.querySelector(".arrow").textContent = mine ? (down ? "▼" : "▲") : "";
    }
    if (at === undefined) return;
    const number = isNumber(this.columns[at]);
    this.found.sort((one, other) => {
      const [a, b] = [one[at], other[at]];
      if (a === null || b === null) return (a === null) - (b === null);
      return (number ? a - b : collator.compare(a, b)) * (down ? -1 : 1);
    });
  },

  /** Draw the next rows: thousands at once would take seconds. */
  more(focus = false) {
    const next = this.found.slice(this.drawn, this.drawn + CHUNK);
    const made = next.map((row) => this.line(row));
    this.body.append(...made);
    this.drawn += next.length;
    const left = this.found.length - this.drawn;
    const button = document.getElementById("more");
    button.textContent = `Show ${Math.min(left, CHUNK)} more of ${left}`;
    button.classList.toggle("hidden", left === 0);
    if (focus && made.length) made[0].querySelector("a").focus();
  },

  line(row) {
    return el("tr", {}, ...this.columns.map((column, i) => this.cell(column, row[i], row)));
  },

  cell(column, value, row) {
    const { key, kind } = column;
    if (key === "protocol") {
      return el("th", { scope: "row" }, link(`protocol/${value}`, value));
    }
    if (key === "method") return el("td", { class: "fit" }, link(`method/${value}`, value));
    if (key === "settings") return el("td", { class: "settings" }, value);
    if (key === "run") return el("td", { class: "fit" }, link(`run/${value}`, el("code", {}, value)));
    if (key === "data" && value === "stand-in") {
      return el("td", {}, el("span", { class: "tag stand-in" }, value));
    }
    const exact = ["seconds", "count", "time"].includes(kind) ? value : null;
    return el("td", { class: isNumber(column) ? "num" : "fit", title: exact }, shown(value, kind));
  },

  open(event) {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !String(getSelection())) {
      location.hash = row.lastElementChild.querySelector("a").hash;
    }
  },

  /** Focus the same link one row further; returns whether there is one. */
  move(from, step) {
    const row = from.closest("#runs tbody tr");
    let next = null;
    if (row) {
      const at = [...row.querySelectorAll("a")].indexOf(from);
      const other = step > 0 ? row.nextElementSibling : row.previousElementSibling;
      next = other && other.querySelectorAll("a")[Math.max(at, 0)];
    } else if (from === this.words && step > 0) {
      next = this.body.querySelector("a");
    }
    if (next) next.focus();
    return Boolean(next);
  },

  escape(from) {
    if (this.words.value || CHOICES.some((key) => this.state[key])) this.clear();
    else from.blur();
  },

  /** The rows that are found, as a file; numbers as exact as the page has them. */
  save() {
    const lines = [this.columns.map((column) => column.key), ...this.found];
    const text = lines.map((line) => line.map(quoted).join(",")).join("\r\n");
    const file = new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" });
    const where = URL.createObjectURL(file);
    el("a", { href: where, download: "results.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(where), 1000);
  },
};

const compared = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
};

function isNumber(column) {
  return ["number", "percent", "seconds", "count"].includes(column.kind);
}

/** A value of a CSV file; a text that a spreadsheet would compute gets an apostrophe. */
function quoted(value) {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
