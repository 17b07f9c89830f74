// The page of one run, and what other pages show of runs: losses and pictures.
const MOST_DRAWN = 4;

function showRun(page, id) {
  const run = Object.hasOwn(details().runs, id) ? details().runs[id] : null;
  page.replaceChildren(...(run ? runPage(id, run) : noRun(id)));
}

function noRun(id) {
  return [
    el("h2", { tabindex: "-1" }, `No run ${id}`),
    el("p", {}, "This page holds no such run. ", el("a", { href: "#/" }, "All runs")),
  ];
}

function runPage(id, run) {
  const { pool } = details();
  const { spec } = run;
  return [
    el("p", { class: "soft" }, el("a", { href: runs.hash() }, "All runs"), " › ",
      link(`method/${run.method}`, run.method)),
    el("h2", { tabindex: "-1" }, `${run.entry} on ${run.fold}, seed ${spec.seed}`),
    run.data === "stand-in"
      ? el("p", {}, el("span", { class: "tag stand-in" }, "stand-in"),
        " Trained on rendered people: its numbers say nothing of the real data sets.")
      : null,
    facts(id, run, pool),
    el("h3", {}, "Results"),
    targetTable(run),
    section("Match within the first k", cmcCharts(run)),
    section("Losses", lossCharts(run)),
    section("Pictures", pictures(id, run)),
    el("h3", {}, "Config"),
    configTable(pool[run.config], run.settings),
    notes(run, pool),
    more("Environment", objectTable(pool[run.environment])),
    more("Spec as JSON", el("pre", { tabindex: "0" },
      JSON.stringify({ ...spec, config: pool[run.config] }, null, 1))),
    section("Other runs of these settings", siblings(id, run)),
  ].flat().filter(Boolean);
}

function section(title, content) {
  return content ? [el("h3", {}, title), content] : [];
}

function more(title, content) {
  return content ? el("details", {}, el("summary", {}, title), content) : null;
}

function facts(id, run, pool) {
  const { spec, validation } = run;
  const counts = Object.entries(pool[run.sources]).map(([key, found]) =>
    `${key}: ${found.images} images of ${found.identities} people, fingerprint ${spec.sources[key]}`);
  const weights = spec.weights.length ? spec.weights.join(", ") : null;
  const parameters = Object.entries(run.parameters)
    .map(([name, count]) => `${count.toLocaleString("en")} ${name}`).join(", ");
  const held = validation && `mAP ${percentOf(validation.mAP)}, Rank-1 ${percentOf(validation.rank1)}`;
  const pairs = [
    ["Run", el("code", {}, id)],
    ["Records", el("code", {}, run.folder)],
    ["Trained on", counts.map((text) => el("div", {}, text))],
    ["Preset", `${spec.preset}, ${spec.precision}, version ${spec.method_version} of the method`],
    ["Initial weights", weights],
    ["Part labels", spec.part_labels],
    ["Held out", spec.holdout === null ? null : `${100 * spec.holdout} % of source identities`],
    ["On those held out", held],
    ["Parameters", parameters],
    ["Training time", shown(run.seconds, "seconds")
      + (run.interruptions ? `, interrupted ${run.interruptions} times` : "")],
    ["Stages of another run", run.shared.length ? run.shared.join(", ") : null],
    ["Finished", run.finished],
    ["Weights' SHA-256", run.model],
    ["MLflow", mlflowLink(run)],
  ];
  return el("dl", { class: "facts" },
    ...pairs.filter(([, value]) => value).flatMap(([name, value]) =>
      [el("dt", {}, name), el("dd", {}, ...[value].flat())]));
}

function mlflowLink(run) {
  const said = document.getElementById("mlflow-said").textContent.split("`")
    .map((text, i) => (i % 2 ? el("code", {}, text) : text));
  // only an address that this project has made is a link
  if (!run.mlflow || !/^https?:\/\//.test(run.mlflow)) return said;
  return [el("a", { href: run.mlflow, rel: "noreferrer" }, "its page"), ", which ", ...said];
}

function percentOf(fraction) {
  return fraction === null || fraction === undefined ? "–" : (100 * fraction).toFixed(1);
}

function targetTable(run) {
  const head = ["Protocol", "mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "Queries", "Images",
    "Data", "Fingerprint"];
  const line = (one) => {
    const { metrics } = one;
    const numbers = ["mAP", "rank1", "rank5", "rank10", "mINP"].map((key) => percentOf(metrics[key]));
    const queries = [metrics.valid_queries, metrics.skipped_queries ? `(${metrics.skipped_queries} left out)` : ""];
    const mark = one.data === "stand-in" ? "tag stand-in" : "tag";
    return el("tr", {},
      el("th", { scope: "row" }, link(`protocol/${one.protocol}`, one.protocol)),
      ...[...numbers, queries.join(" "), one.images].map((text) => el("td", { class: "num" }, String(text))),
      el("td", {}, el("span", { class: mark }, one.data)),
      el("td", {}, el("code", {}, [one.fingerprint, one.version].filter(Boolean).join(" "))));
  };
  const heads = head.map((text, i) => el("th", { scope: "col", class: i > 0 && i < 8 ? "num" : null }, text));
  return scrolling("Results of this run", el("table", {},
    el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...run.targets.map(line))));
}

function scrolling(label, table) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

function cmcCharts(run) {
  const series = run.targets.filter((one) => one.cmc.length > 1).map((one) => ({
    name: one.target,
    points: one.cmc.map((value, i) => [i + 1, value === null ? null : 100 * value]),
  }));
  if (!series.length) return null;
  return el("div", { class: "charts" },
    chart({ title: "CMC: queries (%) with a match within the first k", series, whole: true }));
}

function lossCharts(run) {
  const stages = run.losses.filter((stage) => stage.epochs.length);
  if (!stages.length) return null;
  return el("div", { class: "charts" }, ...stages.map((stage) => chart({
    title: `Stage ${stage.stage}: mean loss of each epoch`,
    series: Object.entries(stage.losses).map(([name, values]) => ({
      name,
      points: values.map((value, i) => [stage.epochs[i], value]),
    })),
    ends: true,
  })));
}

/** Losses on a method's page: of one of these runs, chosen from a list. */
function chooseLosses(place, ids) {
  const known = ids.map((id) => [id, details().runs[id]]).filter(([, run]) => run.losses.length);
  if (!known.length) {
    place.append(el("p", { class: "soft" }, "Nothing was trained, so there are no losses."));
    return;
  }
  const select = el("select", {}, ...known.map(([id, run]) =>
    el("option", { value: id }, `${run.entry} on ${run.fold}, seed ${run.spec.seed}`)));
  const charts = el("div");
  const draw = () => {
    const run = details().runs[select.value];
    charts.replaceChildren(lossCharts(run), el("p", {}, link(`run/${select.value}`, "This run")));
  };
  select.addEventListener("change", draw);
  place.append(el("label", {}, "Run ", select), charts);
  draw();
}

/** Pictures on a method's page: of the first of these runs, which all have some. */
function showPictures(place, ids) {
  for (const id of ids.slice(0, MOST_DRAWN)) {
    const run = details().runs[id];
    const title = link(`run/${id}`, `${run.entry} on ${run.fold}, seed ${run.spec.seed}`);
    place.append(el("h4", {}, title), pictures(id, run));
  }
  const left = ids.length - MOST_DRAWN;
  if (left > 0) place.append(el("p", {}, `Pictures of ${left} more runs are on their pages.`));
}

function pictures(id, run) {
  if (!run.pictures.length) return null;
  return el("div", { class: "figures large" }, ...run.pictures.map(([name, source]) =>
    el("figure", {}, el("figcaption", {}, name),
      el("img", { src: source, alt: `${name} of run ${id}`, loading: "lazy", decoding: "async" }))));
}

function configTable(config, settings) {
  const set = new Set(settings.map((text) => text.split("=")[0]));
  return scrolling("Config", objectTable(config, set));
}

/** Keys and values; those that were `set` are marked. */
function objectTable(value, set = new Set()) {
  const line = ([key, one]) => el("tr", { class: set.has(key) ? "set" : null },
    el("th", { scope: "row" }, key, set.has(key) ? " (set)" : ""),
    el("td", { class: "settings" }, typeof one === "string" ? one : JSON.stringify(one)));
  return el("table", {}, el("tbody", {}, ...Object.entries(value || {}).map(line)));
}

function notes(run, pool) {
  const said = [...pool[run.notes],
    ...run.targets.flatMap((one) => pool[one.notes].map((text) => `${one.target}: ${text}`))];
  const list = el("ul", { class: "plain" }, ...said.map((text) => el("li", {}, text)));
  return said.length ? more(`What the readers of the data had to say (${said.length})`, list) : null;
}

function siblings(id, run) {
  const others = Object.entries(details().runs)
    .filter(([other, one]) => other !== id && one.entry === run.entry);
  if (!others.length) return null;
  return el("ul", { class: "plain" }, ...others.map(([other, one]) =>
    el("li", {}, link(`run/${other}`, `${one.fold}, seed ${one.spec.seed}`))));
}
