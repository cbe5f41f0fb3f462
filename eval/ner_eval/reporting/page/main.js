// The page: put together once, parts drawn again when a choice changes them.
function redraw(id, draw) {
  const node = draw();
  document.getElementById(id).replaceWith(node);
  return node;
}

function top() {
  const other = language === "zh" ? "en" : "zh";
  const dark = () => document.documentElement.dataset.theme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  return make("header", {}, make("h1", {}, isolated(data.run.model), " · ", `${data.run.corpus}/${data.run.split}`),
    make("button", { id: "language", lang: other, onclick: () => { language = other; draw(); } }, strings[other].this_language),
    make("button", { id: "theme", onclick: () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; } }, say("theme")));
}

function draw() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  const parts = [top, headline, labels, classes, confusionTable, breakdowns, examples, suspectsTable, comparisonTable, details];
  document.getElementById("page").replaceChildren(...parts.map((part) => part()).filter(Boolean));
}

recall();
addEventListener("hashchange", () => { recall(); draw(); });
draw();
