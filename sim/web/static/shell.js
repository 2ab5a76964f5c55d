"use strict";

// What the pages of all chips share. Each has a `page`, with its `worker` and a `repaint`.

const $ = (id) => document.getElementById(id);
const config = JSON.parse($("config").textContent);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

function send(...message) {
  page.worker.postMessage(message);
}

// --- Light and dark ---

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function setTheme(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  page.repaint();
}
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches));
$("theme").addEventListener("click", () =>
  setTheme(document.documentElement.dataset.theme !== "dark"));

// --- What is asked for ---

function seedProblem(text) {
  const seed = Number(text);
  const isUsable = /^\d+$/.test(text) && seed >= 1 && seed <= 0xffffffff;
  return isUsable ? "" : "A seed is a whole number from 1 to 4294967295.";
}

/** Say what is wrong with a field, and whether nothing is. */
function check(id, problem) {
  $(`${id}-message`).textContent = problem;
  $(id).setAttribute("aria-invalid", String(Boolean(problem)));
  return !problem;
}

// --- Start ---

function fail(message) {
  $("failure").hidden = false;
  $("failure").textContent = `The chip does not run: ${message}`;
}

/** Unpack the chip, open its worker, and return the chip's bytes. */
async function openChip(receive) {
  const packed = Uint8Array.from(atob($("chip").textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const source = new Blob([$("worker").textContent], { type: "text/javascript" });
  page.worker = new Worker(URL.createObjectURL(source));
  page.worker.onerror = (event) => fail(event.message);
  page.worker.onmessage = ({ data }) => receive(data);
  return bytes;
}

/** Fill in what is known, and start. */
function begin(start) {
  $("clock").textContent = `${whole.format(config.clock / 1e6)} MHz`;
  $("about").textContent = config.about;
  $("temperature").max = config.temperatures.length - 1;
  $("temperature").value = config.temperatures.findIndex(([value]) => value === config.temperature);
  $("seed").value = 1;
  setTheme(prefersDark.matches);
  start().catch((error) => fail(error.message));
}
