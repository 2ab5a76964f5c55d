"use strict";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

const page = {
  worker: null,
  state: null, // what the worker told last
  isRunning: true,
  pace: Infinity,
  asked: "", // what the chip was last asked for
  signals: [],
  times: {}, // when what was drawn, once `forget` was called
  panelKey: "",
  repaint() {
    forget();
    redraw();
  },
};

/** Have everything drawn anew, whatever was drawn lately. */
function forget() {
  page.times = { drawn: -Infinity, maps: -Infinity, spoken: -Infinity, texts: -Infinity };
  page.panelKey = "";
}
forget();

/** The letter of a token; a dash for the one that begins a document. */
const letter = (token) => (token === config.bos ? "–" : config.characters[token]);

// --- What is asked for ---

/** What is wrong with a prompt, as a sentence; nothing if the model can begin with it. */
function promptProblem(text) {
  const stranger = [...text].find((character) => !config.characters.includes(character));
  const known = config.characters.split("").join(" ");
  if (stranger !== undefined)
    return `The model does not know “${stranger}”. Its characters are ${known}.`;
  const room = config.context - 1;
  if (text.length > room)
    return `The prompt has ${text.length} characters, but there is room for ${room}: shorten it.`;
  return "";
}

function readSettings() {
  const prompt = $("prompt").value;
  const seed = $("seed").value.trim();
  const [temperature, scale] = config.temperatures[$("temperature").value];
  $("temperature-text").textContent = temperature ? temperature.toFixed(1) : "0, the likeliest always";
  const isGood = [check("prompt", promptProblem(prompt)), check("seed", seedProblem(seed))];
  if (!isGood.every(Boolean)) return;
  const tokens = [...prompt].map((character) => config.characters.indexOf(character));
  const words = ["gptloom generate --count 20", `--seed ${seed}`, `--temperature ${temperature}`];
  if (prompt) words.push(`--prompt ${prompt}`);
  if (config.lanes !== 16) words.push(`--lanes ${config.lanes}`);
  if (config.checkpoint !== "names") words.push(`--checkpoint ${config.checkpoint}`);
  page.asked = $("command").textContent = words.join(" ");
  send("set", { asked: page.asked, prompt: tokens, seed: Number(seed), scale });
}

for (const id of ["prompt", "seed", "temperature"])
  $(id).addEventListener("input", readSettings);
$("dice").addEventListener("click", () => {
  $("seed").value = 1 + Math.floor(Math.random() * 0xffffffff);
  readSettings();
});
$("ask").addEventListener("submit", (event) => event.preventDefault());

// --- The clock ---

function setRunning(isRunning) {
  page.isRunning = isRunning;
  $("pause").textContent = isRunning ? "Pause" : "Run";
  send("pace", isRunning && !document.hidden ? page.pace : 0);
}

$("pause").addEventListener("click", () => setRunning(!page.isRunning));
$("pace").addEventListener("change", () => {
  page.pace = Number($("pace").value);
  setRunning(true);
});
for (const unit of ["cycle", "token"])
  $(`step-${unit}`).addEventListener("click", () => {
    if (page.isRunning) setRunning(false);
    forget();
    page.isStep = true;
    send("step", unit);
  });
$("reset").addEventListener("click", () => {
  send("reset");
});
document.addEventListener("visibilitychange", () => page.worker && setRunning(page.isRunning));

// --- What there is to see ---

function show(state) {
  page.state = state;
  const now = performance.now();
  // Less motion: the page changes twice a second.
  const isSlow = calm.matches && page.isRunning;
  if (!isSlow || now - page.times.drawn > 500) {
    page.times.drawn = now;
    requestAnimationFrame(() => {
      redraw();
      send("drawn");
    });
  } else {
    setTimeout(() => send("drawn"), 100);
  }
}

function redraw() {
  const { state } = page;
  if (!state) return;
  const now = performance.now();
  const isStill = !page.isRunning;
  showPanel(state);
  showWriting(state);
  showFigures(state);
  showNames(state);
  const labels = Array.from(state.rowTokens, letter);
  drawCache($("cache"), config, state, labels);
  // What changes too fast to be read is changed now and then.
  const isReadable = isStill || page.pace < 1e5;
  if (isReadable || now - page.times.texts > 500) {
    page.times.texts = now;
    $("cache-text").textContent = cacheText(state);
    showWave(state);
  }
  if (isReadable || now - page.times.maps > 900) {
    page.times.maps = now;
    showAttention(state.attended);
  }
  if (isStill ? page.isStep : now - page.times.spoken > 5000) {
    page.times.spoken = now;
    page.isStep = false;
    speak(state, isStill);
  }
}

function panelText({ codes }) {
  const text = codes.map(panelCharacter).join("");
  return [text.slice(0, 16).trimEnd(), text.slice(16).trim()];
}

function showPanel({ panel, cycle }) {
  const canvas = $("panel");
  const key = [panel.isShown, canvas.clientWidth, ...panel.codes].join();
  if (key !== page.panelKey) {
    page.panelKey = key;
    drawPanel(canvas, panel, config.glyphs);
    const lines = panelText(panel);
    const text = panel.isShown ? `reads ${lines.join(", ")}` : "is off";
    canvas.setAttribute("aria-label", `The chip's character display ${text}`);
    if (panel.isShown) canvas.dataset.shown = lines.join("|");
  }
  const waits = Math.min(1, cycle / config.panelBegins);
  let caption = "Read from the pins RS, E and DB4 to DB7. The second line is the speed of the last whole second, measured by the chip";
  if (waits < 1)
    caption = `The display waits after power-on, as its datasheet asks, and is written: ${whole.format(100 * waits)} % of ${tenths.format((1000 * config.panelBegins) / config.clock)} ms.`;
  else if (!panel.isShown)
    caption = `The display is off while another name is written into it, a character every ${whole.format(config.characterCycles)} cycles.`;
  else if (cycle < config.clock)
    caption += `: its first one ends with cycle ${whole.format(config.clock)}.`;
  else caption += ".";
  if ($("panel-caption").textContent !== caption) $("panel-caption").textContent = caption;
}

function showWriting({ writing }) {
  const tokens = writing ? writing.tokens.slice(1).map(letter) : [];
  const known = writing ? writing.known : 0;
  $("known").textContent = tokens.slice(0, known).join("");
  $("writing").textContent = tokens.slice(known).join("");
}

function showFigures(state) {
  const put = (id, text) => ($(id).textContent = text);
  put("cycle", whole.format(state.cycle));
  const seconds = state.cycle / config.clock;
  put("chip-time", seconds < 1 ? `${tenths.format(1000 * seconds)} ms` : `${tenths.format(seconds)} s`);
  put("last-token", state.tokenCycles ? `${whole.format(state.tokenCycles)} cycles` : "–");
  if (state.tokens) {
    const cycles = (state.lastTokenAt - state.begunAt) / state.tokens;
    put("cycles-token", tenths.format(cycles));
    put("chip-speed", whole.format(config.clock / cycles));
  }
  const { speed } = state;
  put("here-speed", speed.tokens ? whole.format(speed.tokens) : "–");
  put("here-cycles", speed.cycles ? whole.format(speed.cycles) : "–");
  put("slower", speed.cycles ? `${whole.format(config.clock / speed.cycles)} times` : "–");
}

function showNames(state) {
  const list = $("names");
  const isOfThese = state.asked === page.asked;
  const names = isOfThese ? state.first : [];
  if (list.dataset.asked !== (state.asked ?? "")) list.replaceChildren();
  for (const name of names.slice(list.children.length))
    list.append(Object.assign(document.createElement("li"), { textContent: name }));
  list.dataset.asked = state.asked ?? "";
  $("count").textContent = whole.format(isOfThese ? state.names : 0);
  $("newest").textContent = (isOfThese && state.newest) || "–";
}

function cacheText({ rows, rowTokens, cache, cycle }) {
  const text = Array.from(rowTokens.slice(0, rows), letter).join("");
  const attended = Array.from(cache.attended.slice(0, rows))
    .filter((time) => cycle - time < LIGHT_CYCLES).length;
  return `${rows} of ${config.context} rows hold keys and values of ${text}; ` +
    `${attended} of them were attended in the last ${LIGHT_CYCLES} cycles.`;
}

function speak(state, isStill) {
  const [name] = panelText(state.panel);
  let text = state.panel.isShown && name ? `The display shows ${name}.` : "The display is dark.";
  if (isStill) {
    const written = $("known").textContent + $("writing").textContent;
    text = `Cycle ${whole.format(state.cycle)}: ${written || "nothing yet"}.`;
  }
  $("spoken").textContent = text;
}

// --- Attention ---

function weightsOf(attended, layer, head) {
  return attended.attention.map((layers) => {
    const numerators = Array.from(layers[layer][head]);
    const total = Math.max(1, numerators.reduce((sum, value) => sum + value, 0));
    return numerators.map((value) => value / total);
  });
}

function showAttention(attended) {
  if (!attended) return;
  const labels = attended.tokens.slice(0, attended.attention.length).map(letter);
  const name = labels.slice(1).join("") || "–";
  $("attention-name").textContent = name;
  $("attention-known").hidden = !attended.known;
  if (!$("maps").children.length) makeMaps();
  const isOpen = $("tables").parentElement.open;
  for (const figure of $("maps").children) {
    const { layer, head } = figure.dataset;
    const weights = weightsOf(attended, layer, head);
    const canvas = figure.firstElementChild;
    canvas.setAttribute("aria-label",
      `Attention of head ${head}, ${labels.length} tokens of ${name}; the tables below hold its numbers`);
    drawAttention(canvas, labels, weights);
  }
  if (isOpen) showTables(attended, labels);
}

function makeMaps() {
  for (let layer = 0; layer < config.layers; layer++)
    for (let head = 0; head < config.heads; head++) {
      const figure = document.createElement("figure");
      Object.assign(figure.dataset, { layer, head });
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      const caption = document.createElement("figcaption");
      caption.textContent = config.layers > 1 ? `layer ${layer}, head ${head}` : `head ${head}`;
      figure.append(canvas, caption);
      $("maps").append(figure);
    }
}

function showTables(attended, labels) {
  const key = JSON.stringify([attended.tokens, attended.ended]);
  if ($("tables").dataset.key === key && attended.ended) return;
  $("tables").dataset.key = key;
  const cell = (kind, text, scope) => {
    const element = document.createElement(kind);
    element.textContent = text;
    if (scope) element.scope = scope;
    return element;
  };
  const row = (cells) => {
    const element = document.createElement("tr");
    element.append(...cells);
    return element;
  };
  const tables = Array.from($("maps").children, (figure) => {
    const { layer, head } = figure.dataset;
    const table = document.createElement("table");
    table.append(cell("caption", figure.lastElementChild.textContent));
    table.append(row([cell("th", "token"), ...labels.map((label) => cell("th", label, "col"))]));
    weightsOf(attended, layer, head).forEach((weights, token) =>
      table.append(row([
        cell("th", labels[token], "row"),
        ...weights.slice(0, token + 1).map((weight) => cell("td", weight.toFixed(4))),
      ])));
    return table;
  });
  $("tables").replaceChildren(...tables);
}
$("tables").parentElement.addEventListener("toggle", () => {
  forget();
  redraw();
});
