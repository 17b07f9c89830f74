// What the page is at any moment follows from its address alone: #/PAGE?STATE. Names from outside
// become text nodes and attributes, never markup.
const root = document.documentElement;
const data = JSON.parse(document.getElementById("table-data").textContent);
let parsed = null;

/** The details of runs, parsed when the first one is opened. */
function details() {
  parsed = parsed || JSON.parse(document.getElementById("run-data").textContent);
  return parsed;
}

/** An element; children are nodes or become text, attributes that are null are left out. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function link(page, text, attributes = {}) {
  return el("a", { href: address(page), ...attributes }, text);
}

function address(page) {
  return `#/${page.split("/").map(encodeURIComponent).join("/")}`;
}

const formats = {
  text: (value) => value,
  number: (value) => String(value),
  percent: (value) => value.toFixed(1),
  seconds: (value) => {
    if (value < 100) return `${Math.round(value)} s`;
    if (value < 6000) return `${Math.round(value / 60)} min`;
    return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
  },
  count: (value) => (value < 1e6 ? `${Math.round(value / 1e3)} k` : `${(value / 1e6).toFixed(1)} M`),
  time: (value) => value.slice(0, 16).replace("T", " "),
};

/** A value as a column of that kind shows it; a dash where there is none. */
function shown(value, kind) {
  return value === null || value === undefined ? "–" : (formats[kind] || formats.text)(value);
}

/** The address after #: which page, and what is set there. */
function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  let page = path;
  try {
    page = path.split("/").map(decodeURIComponent).join("/");
  } catch {
    // an address that somebody has cut short: as it is
  }
  return { page, state: new URLSearchParams(query) };
}

function showPage(first = false) {
  const { page, state } = here();
  const isRun = page.startsWith("run/");
  const wanted = document.getElementById(isRun ? "run-page" : `/${page}`);
  const found = wanted && wanted.classList.contains("page") ? wanted : null;
  const chosen = found || document.getElementById("nothing-here");
  for (const one of document.querySelectorAll(".page.shown")) one.classList.remove("shown");
  if (isRun) showRun(chosen, page.slice(4));
  else if (page === "") runs.restore(state);
  else fill(chosen);
  chosen.classList.add("shown");
  const kind = page.split("/")[0].replace(/^(protocol|method)$/, "$1s").replace(/^run$/, "");
  for (const one of document.querySelectorAll("nav.main a")) {
    if (one.dataset.page === kind) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  const heading = chosen.querySelector("h2");
  document.title = `${heading.textContent} · ${root.dataset.title}`;
  if (first) return;
  heading.focus({ preventScroll: true });
  scrollTo(0, page === "" ? runs.scrolled : 0);
}

/** What a page of a protocol or method shows of runs, once it is opened. */
function fill(page) {
  for (const place of page.querySelectorAll("[data-runs]:empty")) {
    const ids = place.dataset.runs.split(" ");
    if (place.dataset.show === "pictures") showPictures(place, ids);
    else chooseLosses(place, ids);
  }
}

function setUpTheme() {
  const button = document.getElementById("theme");
  const names = { auto: "automatic", light: "light", dark: "dark" };
  let chosen = "auto";
  try {
    chosen = localStorage.getItem("theme") || "auto";
  } catch {
    // no storage for this page: the choice lasts as long as it is open
  }
  const apply = () => {
    if (!(chosen in names)) chosen = "auto";
    if (chosen === "auto") delete root.dataset.theme;
    else root.dataset.theme = chosen;
    button.textContent = `Colours: ${names[chosen]}`;
  };
  button.addEventListener("click", () => {
    const order = Object.keys(names);
    chosen = order[(order.indexOf(chosen) + 1) % order.length];
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      // as above
    }
    apply();
  });
  apply();
}

/** Keys that work anywhere: / to the filter, Escape back to the table, arrows between rows. */
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    if (here().page !== "") {
      // at once, without an event that comes later: the next key is a letter of the filter
      history.pushState(null, "", runs.hash());
      showPage();
    }
    document.getElementById("words").focus();
  } else if (event.key === "Escape") {
    if (here().page === "") runs.escape(event.target);
    else location.hash = runs.hash();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (runs.move(event.target, event.key === "ArrowDown" ? 1 : -1)) event.preventDefault();
  }
}

/** To the content, and not to an address: that would be a page of that name. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

addEventListener("DOMContentLoaded", () => {
  setUpTheme();
  runs.setUp();
  document.querySelector(".skip").addEventListener("click", skip);
  showPage(true);
  addEventListener("hashchange", () => showPage());
  addEventListener("keydown", onKey);
});
