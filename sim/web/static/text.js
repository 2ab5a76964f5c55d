"use strict";

const page = { worker: null, isRunning: false, repaint() {} };

// --- What is asked for ---

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

async function start() {
  const bytes = await openChip((data) => {
    if (!data.isLoaded) {
      show(data);
      return;
    }
    for (const element of document.querySelectorAll(":disabled")) element.disabled = false;
    if (!config.tokenizer) $("prompt").disabled = true;
    write();
  });
  send("start", bytes, config);
}

$("prompt").value = config.tokenizer ? config.prompt : "";
begin(start);
