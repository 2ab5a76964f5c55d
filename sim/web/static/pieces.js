"use strict";

/** UTF-8 bytes of a text, as characters of one byte each: what keys of the tokenizer are. */
function bytesOf(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** Tokens of a text, as `model/tokenizers/pieces.py` has them; null if a character has none. */
function encodePieces({ ids, scores, pieces, firstByte, leastScore }, text) {
  const tokens = [];
  for (const character of text ? ` ${text}` : "") {
    const bytes = bytesOf(character);
    if (bytes in ids) tokens.push(ids[bytes]);
    else if (firstByte === null) return null;
    else tokens.push(...Array.from(bytes, (byte) => firstByte + byte.charCodeAt(0)));
  }
  for (;;) {
    let best = -1;
    let bestScore = leastScore;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const merged = ids[pieces[tokens[i]] + pieces[tokens[i + 1]]];
      if (merged !== undefined && scores[merged] > bestScore) {
        best = i;
        bestScore = scores[merged];
      }
    }
    if (best < 0) return tokens;
    tokens.splice(best, 2, ids[pieces[tokens[best]] + pieces[tokens[best + 1]]]);
  }
}

/** The text of tokens: `first` has what one adds at a document's beginning, `later` elsewhere. */
function textOf({ first, later }, tokens) {
  const decoder = new TextDecoder();
  const text = tokens.map((token, place) => {
    const bytes = (place ? later : first)[token];
    return decoder.decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)), { stream: true });
  });
  return text.join("");
}
