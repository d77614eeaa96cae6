// Run the checks of the timeline in a running host's real front end.
//   node tests/host/timeline/run.mjs URL classic|nodes2 [NAME ...]
// Prints a list of {name, error, seconds} as JSON on its last line; `error` is null where the check passed.
import { openBrowser } from "../../../scripts/frontend_browser.mjs";
import { checks } from "./check.mjs";
import { Session } from "./session.mjs";
import "./access.mjs";
import "./blocked.mjs";
import "./edit.mjs";
import "./graph.mjs";
import "./links.mjs";
import "./text.mjs";
import "./workflows.mjs";

const LIMIT = 90000;

/** Why the check fails, or null; what the page says of our files while it runs is a failure too. */
async function outcome(session, run) {
  session.faults.length = 0;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${LIMIT / 1000} s`)), LIMIT);
  });
  try {
    await Promise.race([run(session), late]);
    // Anything that the page still has to say about it.
    await session.page.waitForTimeout(100);
    return session.faults.length ? session.faults.join("\n") : null;
  } catch (error) {
    return [error.stack, ...session.faults].join("\n");
  } finally {
    clearTimeout(timer);
    await session.page.mouse.up().catch(() => {});
    await session.page.keyboard.press("Escape").catch(() => {});
  }
}

async function main() {
  const [url, mode, ...names] = process.argv.slice(2);
  const { context, close } = await openBrowser({ viewport: { width: 1600, height: 1100 }, actionTimeout: 5000 });
  context.setDefaultTimeout(8000);
  const results = [];
  try {
    const session = await new Session(context, url, mode).open();
    for (const [name, run] of checks) {
      if (names.length && !names.includes(name)) continue;
      const start = Date.now();
      const error = await outcome(session, run);
      results.push({ name, error, seconds: (Date.now() - start) / 1000 });
      console.error(`${error ? "FAIL" : "ok  "} ${results.at(-1).seconds.toFixed(1)} s  ${name}${error ? `\n${error}` : ""}`);
    }
  } finally {
    await close();
  }
  console.log(JSON.stringify(results));
}

await main();
