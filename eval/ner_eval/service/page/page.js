// Paste a text, see its entities. Everything that a user, a model or an engine wrote is shown as text.
"use strict";
const at = (id) => document.getElementById(id);
const state = { language: navigator.language.startsWith("zh") ? "zh" : "en", models: [], unscored: new Set(), answer: null, off: new Set(), status: null };
let strings = null;
let asking = null; // what ends the request that is under way

function say(key, values = {}) {
  return strings[state.language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

// --- what the service says --------------------------------------------------------------------------------------------

async function call(path, body, signal) {
  const key = at("key").value;
  if (/[^ -~]/.test(key)) throw Object.assign(new Error(), { status: 401, badKey: true }); // fetch would throw
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = body ? { method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" } } : { headers };
  const reply = await fetch(path, { ...options, signal });
  const value = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(value.error), { status: reply.status });
  return value;
}

async function loadModels() {
  const { models } = await call("models");
  state.models = models;
  at("model").replaceChildren(...models.map(({ name }) => make("option", { value: name }, name)));
}

// Scores cost the engine little and let the slider work without asking again; an engine without them is asked without,
// from the second text on at once.
async function extract(text, model, signal) {
  if (!state.unscored.has(model)) {
    try {
      return await call("extract", { text, model, scores: true }, signal);
    } catch (error) {
      if (error.status !== 422 || !error.message.startsWith("scores: ")) throw error;
      state.unscored.add(model);
    }
  }
  return call("extract", { text, model }, signal);
}

async function find() {
  const text = at("text").value;
  if (!text.trim()) { tell(() => say("nothing"), true); at("text").focus(); return; }
  if (asking) asking.abort();
  const mine = asking = new AbortController();
  const started = performance.now();
  tell(() => say("asking"));
  try {
    if (!state.models.length) await loadModels();
    const model = at("model").value;
    const { results: [result] } = await extract(text, model, mine.signal);
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    state.answer = { text, model, entities: result.entities, problems: result.problems, seconds };
    draw();
  } catch (error) {
    if (mine.signal.aborted) return; // another request took its place
    failed(error);
  } finally {
    if (asking === mine) asking = null;
  }
}

function failed(error) {
  state.answer = null;
  at("found").hidden = true;
  if (error.status === 401) { document.querySelector("label[for=key]").hidden = false; at("key").focus(); }
  tell(() => (error.badKey ? say("bad_key") : error.status === 401 ? say("need_key") : error.status ? error.message : say("unreachable")), true);
}

function tell(words, bad = false) {
  state.status = { words, bad };
  at("status").replaceChildren(...shown(words()));
  at("status").className = bad ? "bad" : "";
}

// --- what is shown ----------------------------------------------------------------------------------------------------

const scored = () => state.answer.entities.every((entity) => "score" in entity);
const kept = () => state.answer.entities.filter(({ label, score }) =>
  !state.off.has(label) && (score === undefined || score >= Number(at("threshold").value)));

function colour(label) {
  const model = state.models.find(({ name }) => name === state.answer.model);
  return `l${Math.max(0, model.labels.indexOf(label)) % 12}`;
}

// Offsets count code points, JavaScript strings count UTF-16 units: slice the text as a list of characters.
function highlighted(text, entities) {
  const chars = Array.from(text);
  const cuts = [...new Set([0, chars.length, ...entities.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  const nodes = [];
  for (let i = 0; i + 1 < cuts.length; i += 1) {
    const piece = lines(chars.slice(cuts[i], cuts[i + 1]).join(""));
    const over = entities.filter(({ start, end }) => start <= cuts[i] && cuts[i + 1] <= end);
    const inner = over.reduce((one, other) => (other.end - other.start < one.end - one.start ? other : one), over[0]);
    nodes.push(inner ? make("mark", { class: `e ${colour(inner.label)}` }, piece) : piece);
    for (const { label, score, end } of over) {
      if (end === cuts[i + 1]) nodes.push(make("span", { class: "tag" }, shown(label), score === undefined ? "" : ` ${score.toFixed(2)}`));
    }
  }
  return make("bdi", {}, nodes);
}

// Line breaks and tabs are those of the text, and stay.
function lines(text) { return text.split(/([\n\t])/).map((part) => (/^[\n\t]$/.test(part) ? part : shown(part))); }

function toggles() {
  const labels = [...new Set(state.answer.entities.map(({ label }) => label))].sort();
  return labels.map((label) => make("button", {
    type: "button", class: `e ${colour(label)}`, "aria-pressed": String(!state.off.has(label)), "data-label": label,
    onclick: () => { if (!state.off.delete(label)) state.off.add(label); draw(); document.querySelector(`#labels [data-label="${CSS.escape(label)}"]`).focus(); },
  }, shown(label)));
}

function list(entities) {
  const columns = ["entity", "label", ...(scored() ? ["score"] : []), "place"];
  const cells = (entity) => [isolated(entity.text), make("bdi", {}, shown(entity.label)),
    ...(scored() ? [entity.score.toFixed(4)] : []), `${entity.start}–${entity.end}`];
  if (!entities.length) return make("p", { class: "note" }, say("none"));
  return make("table", {}, make("thead", {}, make("tr", {}, columns.map((key) => make("th", { scope: "col" }, say(key))))),
    make("tbody", {}, entities.map((entity) => make("tr", {}, cells(entity).map((cell) => make("td", {}, cell))))));
}

function draw() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  const other = state.language === "zh" ? "en" : "zh";
  at("language").textContent = strings[other].this_language;
  at("language").lang = other;
  document.title = say("title");
  at("labels").setAttribute("aria-label", say("labels"));
  at("least").textContent = Number(at("threshold").value).toFixed(2);
  at("found").hidden = !state.answer;
  if (state.answer) drawAnswer();
  else if (state.status) tell(state.status.words, state.status.bad);
}

function drawAnswer() {
  const { text, model, entities, problems, seconds } = state.answer;
  const visible = kept();
  at("confidence").hidden = !scored();
  at("labels").replaceChildren(...toggles());
  at("marked").replaceChildren(highlighted(text, visible));
  at("problems").replaceChildren(...problems.map((problem) => make("li", {}, shown(problem))));
  at("list").replaceChildren(list(visible));
  at("json").textContent = JSON.stringify({ model, text, threshold: Number(at("threshold").value), entities: visible }, null, 2);
  at("copied").textContent = "";
  const note = scored() ? "" : ` · ${say("no_scores")}`;
  tell(() => say("done", { all: entities.length, shown: kept().length, seconds }) + note);
}

// The clipboard belongs to secure pages only; on others, the JSON is selected and copied as by hand.
async function copy() {
  const text = at("json").textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    at("json").parentNode.open = true;
    getSelection().selectAllChildren(at("json"));
    done = document.execCommand("copy");
  }
  at("copied").textContent = say(done ? "copied" : "not_copied");
}

async function start() {
  strings = await (await fetch("strings.json")).json();
  draw();
  at("ask").addEventListener("submit", (event) => { event.preventDefault(); find(); });
  at("text").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find(); });
  at("threshold").addEventListener("input", draw);
  at("copy").addEventListener("click", copy);
  at("language").addEventListener("click", () => { state.language = state.language === "zh" ? "en" : "zh"; draw(); });
  try { await loadModels(); } catch (error) { failed(error); }
}

start();
