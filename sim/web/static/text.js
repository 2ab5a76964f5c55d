"use strict";

const $ = (id) => document.getElementById(id);
const config = JSON.parse($("config").textContent);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const page = { worker: null, isRunning: false };

function send(...message) {
  page.worker.postMessage(message);
}

// --- Light and dark ---

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function setTheme(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
}
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches));
$("theme").addEventListener("click", () =>
  setTheme(document.documentElement.dataset.theme !== "dark"));

// --- What is asked for ---

/** Say what is wrong with a field. */
function check(id, problem) {
  $(`${id}-message`).textContent = problem;
  $(id).setAttribute("aria-invalid", String(Boolean(problem)));
  return !problem;
}

function seedProblem(text) {
  const seed = Number(text);
  const isUsable = /^\d+$/.test(text) && seed >= 1 && seed <= 0xffffffff;
  return isUsable ? "" : "A seed is a whole number from 1 to 4294967295.";
}

function promptProblem(tokens) {
  const room = config.context - 1;
  if (!tokens) return "The model's tokenizer has no tokens for a character of this: leave it out.";
  if (tokens.length > room)
    return `The prompt has ${tokens.length} tokens, but there is room for ${room}: shorten it.`;
  return "";
}

function readSettings() {
  const prompt = $("prompt").value;
  const seed = $("seed").value.trim();
  const tokens = config.tokenizer ? encodePieces(config.tokenizer, prompt) : [];
  const [temperature, scale] = config.temperatures[$("temperature").value];
  $("temperature-text").textContent = temperature ? temperature.toFixed(1) : "0, the likeliest always";
  const isGood = [check("prompt", promptProblem(tokens)), check("seed", seedProblem(seed))];
  if (!isGood.every(Boolean)) return null;
  const words = [config.command, `--seed ${seed}`, `--temperature ${temperature}`];
  if (prompt) words.push(`--prompt '${prompt.replaceAll("'", "'\\''")}'`);
  $("command").textContent = words.join(" ");
  return { known: [config.bos, ...tokens], seed: Number(seed), scale };
}

function write() {
  const asked = readSettings();
  if (asked) send("ask", asked);
}

for (const id of ["prompt", "seed", "temperature"]) $(id).addEventListener("input", readSettings);
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
$("dice").addEventListener("click", () => {
  $("seed").value = 1 + Math.floor(Math.random() * 0xffffffff);
  write();
});
$("pause").addEventListener("click", () => send("pace", !page.isRunning));

// --- What there is to see ---

function show(state) {
  page.isRunning = state.isRunning;
  $("pause").textContent = state.isRunning ? "Pause" : "Run";
  $("pause").disabled = state.isEnded;
  const known = state.known.slice(1);
  const written = state.isEnded && state.tokens.at(-1) === config.bos ? state.tokens.slice(0, -1) : state.tokens;
  const before = textOf(config.text, known);
  $("known").textContent = before;
  $("writing").textContent = textOf(config.text, [...known, ...written]).slice(before.length);
  $("story").dataset.ended = String(state.isEnded);
  const put = (id, text) => ($(id).textContent = text);
  put("cycle", whole.format(state.cycle));
  put("tokens", whole.format(state.tokens.length));
  put("prompt-token", state.cyclesPerPromptToken ? whole.format(state.cyclesPerPromptToken) : "–");
  if (state.cyclesPerToken) {
    put("cycles-token", tenths.format(state.cyclesPerToken));
    put("chip-speed", whole.format(config.clock / state.cyclesPerToken));
  }
  if (state.isRunning || state.isEnded) {
    put("here-speed", tenths.format(state.here.tokens));
    put("here-cycles", whole.format(state.here.cycles));
  }
  if (state.isEnded) $("spoken").textContent = $("known").textContent + $("writing").textContent;
}

function fail(message) {
  $("failure").hidden = false;
  $("failure").textContent = `The chip does not run: ${message}`;
}

async function start() {
  const packed = Uint8Array.from(atob($("chip").textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const source = new Blob([$("worker").textContent], { type: "text/javascript" });
  page.worker = new Worker(URL.createObjectURL(source));
  page.worker.onerror = (event) => fail(event.message);
  page.worker.onmessage = ({ data }) => {
    if (!data.isLoaded) {
      show(data);
      return;
    }
    for (const element of document.querySelectorAll(":disabled")) element.disabled = false;
    if (!config.tokenizer) $("prompt").disabled = true;
    write();
  };
  send("start", bytes, config);
}

$("clock").textContent = `${whole.format(config.clock / 1e6)} MHz`;
$("about").textContent = config.about;
$("prompt").value = config.tokenizer ? config.prompt : "";
$("temperature").max = config.temperatures.length - 1;
$("temperature").value = config.temperatures.findIndex(([value]) => value === config.temperature);
$("seed").value = 1;
setTheme(prefersDark.matches);
start().catch((error) => fail(error.message));
