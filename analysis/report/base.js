"use strict";
// Helpers: elements, numbers and text. Text reaches the page through textContent alone.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a string child becomes a text node, never markup. */
function el(name, attributes = {}, ...children) {
  return dress(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, name), attributes, children);
}

function dress(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const byId = (id) => document.getElementById(id);
let lastId = 0;
const newId = (prefix) => `${prefix}-${++lastId}`;

/** A number to three or four digits; an en dash for null. */
function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, "e");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(size >= 1 ? 4 : 3)));
}

/** A probability; near 1 as its distance from 1. */
function probability(value) {
  return value !== null && value > 0.99 && value < 1 ? `1 − ${number(Number((1 - value).toPrecision(2)))}` : number(value);
}

/** A share as a percentage. */
function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = 100 * share;
  return `${value === 0 ? 0 : value < 0.01 ? value.toExponential(1) : Number(value.toPrecision(3))} %`;
}

const NAMED = new Map([["\n", "↵\n"], ["\t", "⇥"]]);
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}\p{Noncharacter_Code_Point}]/u;

/**
 * Text with everything invisible made visible, so that nothing the model wrote is lost or changes what stands beside it:
 * control characters, lone surrogates, direction changes, unusual spaces, and piled up combining marks.
 */
function visible(text, spaces = false) {
  let shown = "";
  let marks = 0;
  for (const character of text) {
    const code = character.codePointAt(0);
    marks = /\p{M}/u.test(character) ? marks + 1 : 0;
    if (character === " ") shown += spaces ? "·" : " ";
    else if (NAMED.has(character)) shown += spaces ? NAMED.get(character) : character;
    else if (code < 0x20) shown += String.fromCodePoint(0x2400 + code);
    else if (code === 0x7f) shown += "␡";
    else if (HIDDEN.test(character) || marks > 2) shown += `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
    else shown += marks && !shown ? `◌${character}` : character;
  }
  return shown;
}

/** One line of at most `length` characters. */
function brief(text, length) {
  const shown = visible(text).replace(/\s+/g, " ").trim();
  const letters = Array.from(shown);
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : shown;
}

/** A table in a box that scrolls and takes the focus. `rows` start with the row's name. */
function table(label, columns, rows, { numbers = false, low = false } = {}) {
  const align = numbers ? { class: "num" } : {};
  const head = el("tr", {}, ...columns.map((name, i) => el("th", { scope: "col", ...(i ? align : {}) }, visible(name))));
  const body = rows.map(([name, ...values]) =>
    el("tr", {}, el("th", { scope: "row" }, visible(name)), ...values.map((value) => el("td", align, visible(value)))));
  const content = el("table", {}, el("thead", {}, head), el("tbody", {}, ...body));
  return el("div", { class: low ? "scroll low" : "scroll", role: "region", tabindex: "0", "aria-label": label }, content);
}

/** A disclosure whose content is made when it is first opened. */
function disclosure(title, make) {
  const node = el("details", {}, el("summary", {}, title));
  node.addEventListener("toggle", () => { if (node.open && node.children.length === 1) node.append(make()); });
  return node;
}

/** Index of the entry of the ascending list that is nearest to `value`. */
function nearest(list, value) {
  let low = 0;
  let high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] <= value) low = middle; else high = middle;
  }
  return Math.abs(list[high] - value) < Math.abs(list[low] - value) ? high : low;
}
