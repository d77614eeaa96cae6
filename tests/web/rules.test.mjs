// What web/js must hold to: small, plain modules that the page may execute, and nothing else.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { SCRIPTS } from "./modules.mjs";

const LIMIT = 40 * 1024;
const HOST = ["/scripts/app.js", "/scripts/api.js"];
const names = readdirSync(SCRIPTS, { recursive: true }).map(String);
const files = names.filter((name) => /\.\w+$/.test(name)).map((name) => [name, readFileSync(join(SCRIPTS, name), "utf8")]);
const scripts = files.filter(([name]) => name.endsWith(".js"));

test(`scripts and styles are at most ${LIMIT} bytes in all`, () => {
  const sizes = files.map(([name, text]) => [name, Buffer.byteLength(text)]);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  assert.ok(total <= LIMIT, `${total} bytes: ${sizes.map(([name, size]) => `${name} ${size}`).join(", ")}`);
});

test("only scripts and styles lie there: the page executes every script", () => {
  assert.deepEqual(names.filter((name) => !/^[\w/]+\.(js|css)$/.test(name)), []);
});

for (const [name, text] of scripts) {
  test(`${name} is a small plain module`, () => {
    assert.ok(text.split("\n").length <= 300, "at most 300 lines");
    assert.match(text, /^\/\/ \S/, "begins with a line that says what it is for");
    const imports = [...text.matchAll(/^\s*(?:import|export)\b[^;]*?\bfrom\s*"([^"]+)"|^\s*import\s*"([^"]+)"/gm)];
    for (const [, from, alone] of imports) {
      const path = from ?? alone;
      assert.ok(HOST.includes(path) || scripts.some(([other]) => path === `./${other}`), `imports ${path}`);
    }
    const banned = {
      "a prototype": /\.prototype\b/,
      "a global": /\b(?:window|globalThis|self)\.\w+\s*=[^=]/,
      "drawing on a canvas": /getContext\(|onDrawForeground|onDrawBackground/,
      "text as code": /\beval\(|new Function\(|innerHTML|outerHTML|insertAdjacentHTML/,
      "work on every frame": /requestAnimationFrame|setInterval/,
      "another server": /https?:\/\//,
    };
    for (const [what, pattern] of Object.entries(banned)) assert.doesNotMatch(text, pattern, `uses ${what}`);
  });
}
