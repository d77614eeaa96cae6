// Named checks and what they assert with.
import assert from "node:assert/strict";

const PATIENCE = 5000;
/** @type {Map<string, (session: import("./session.mjs").Session) => Promise<void>>} */
export const checks = new Map();

/** Register a check; pytest reads the names out of these files, so each stands at the start of a line. */
export function check(name, run) {
  if (checks.has(name)) throw new Error(`two checks are called "${name}"`);
  checks.set(name, run);
}

/** Wait until `read` gives what `wanted` is (or makes it true); fails with the last that it gave. */
export async function until(read, wanted, what) {
  const deadline = Date.now() + PATIENCE;
  const good = typeof wanted === "function" ? wanted : (found) => same(found, wanted);
  for (;;) {
    const found = await read();
    if (good(found)) return found;
    if (Date.now() > deadline) {
      if (typeof wanted === "function") assert.fail(`${what}: ${JSON.stringify(found)}`);
      assert.deepEqual(found, wanted, what);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

function same(found, wanted) {
  try {
    assert.deepEqual(found, wanted);
    return true;
  } catch {
    return false;
  }
}

/** Its middle in the page; parts are made anew when a timeline is drawn, so it may take a second look. */
export async function centre(locator) {
  const box = await until(() => locator.boundingBox(), (found) => found !== null, `${locator} is on the page`);
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}
