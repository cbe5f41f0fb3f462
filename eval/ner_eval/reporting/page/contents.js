// The table of contents: next to the text, on a narrow screen behind a button at the top; it marks the current section.
const belowTop = 90;

function sections() { return [...document.querySelectorAll("#sections > section")]; }

// The address holds the filter of the sentences: a link must not replace it.
function go(id) {
  const target = document.getElementById(id);
  target.scrollIntoView({ behavior: "auto", block: "start" });
  target.focus({ preventScroll: true });
  mark();
}

function contents(parts) {
  const fold = (open) => { list.classList.toggle("open", open); button.setAttribute("aria-expanded", String(open)); };
  const list = make("ul", {}, parts.map((part) => make("li", {}, make("a", { href: `#${part.id}`, onclick: (event) => {
    event.preventDefault();
    fold(false);
    go(part.id);
  } }, part.querySelector("h2").textContent))));
  const button = make("button", { id: "contents", "aria-expanded": "false", onclick: () => fold(!list.classList.contains("open")) },
    say("contents"), " · ", make("span", { id: "current" }));
  return make("nav", { "aria-label": say("contents") }, button, list);
}

function mark() {
  const all = sections();
  if (all.length === 0) return;
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2 && scrollY > 0;
  const passed = all.filter((part) => part.getBoundingClientRect().top <= belowTop);
  const current = atEnd ? all[all.length - 1] : passed[passed.length - 1] || all[0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${current.id}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("current").textContent = current.querySelector("h2").textContent;
}

let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; mark(); });
}, { passive: true });
