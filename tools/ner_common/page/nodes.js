// Elements, and text that is only shown: untrusted text goes into pages as text nodes, never as markup.
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// Characters that are invisible or change the text direction, and lone surrogates, are spelt out.
const invisible = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]/u;

function shown(text) {
  const nodes = [];
  let plain = "";
  for (const char of text) {
    if (!invisible.test(char)) { plain += char; continue; }
    if (plain) nodes.push(plain);
    plain = "";
    const code = char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    nodes.push(make("span", { class: "control" }, `U+${code}`));
  }
  if (plain) nodes.push(plain);
  return nodes;
}

function isolated(text) { return make("bdi", {}, shown(text)); }
