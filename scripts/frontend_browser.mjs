// Opens a running host's real front end in an installed Chromium. Development only.
// Exit code 3: playwright-core or Chromium is not there; stderr says which and how to get it.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";

const CHROMIUM = [
  process.env.CHROMIUM_PATH,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];
// No sandbox and no GPU in containers; nothing that talks to anyone but the test server.
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
];
// A fresh profile would open the tutorial and the template browser over the graph.
const SETTINGS = {
  "Comfy.TutorialCompleted": true,
  "Comfy.Locale": "en",
  "Comfy.Workflow.ShowMissingModelsWarning": false,
  "Comfy.Graph.CanvasInfo": false,
  "Comfy.VueNodes.Enabled": false,
  "Comfy.Minimap.Visible": false,
  // Text stays drawn however far the canvas is zoomed out: the first name is the older front end's.
  "LiteGraph.Canvas.LowQualityRenderingZoomThreshold": 0.01,
  "LiteGraph.Canvas.MinFontSizeForLOD": 0,
};

const inTests = createRequire(new URL("../tests/web/package.json", import.meta.url));

/** Path of a file of a package in tests/web. */
export function locate(name) {
  try {
    return inTests.resolve(name);
  } catch {
    return missing(`${name} is not installed: run \`npm install\` in tests/web.`);
  }
}

function installed() {
  const { chromium } = inTests(locate("playwright-core"));
  const executablePath = CHROMIUM.find((path) => path && existsSync(path)) ??
    missing("No Chromium was found: install one, or set CHROMIUM_PATH to it.");
  return { chromium, start: { executablePath, headless: true, args: FLAGS } };
}

/** A browser for several scripts, which find it by its address in LUMINA_BROWSER: a Playwright server. */
export function shareBrowser() {
  const { chromium, start } = installed();
  return chromium.launchServer(start);
}

/** A context with no history, and one page in it; `close` ends it. `options` are Playwright's. */
export async function openBrowser(options = {}) {
  const { chromium, start } = installed();
  const shared = process.env.LUMINA_BROWSER;
  const browser = await (shared ? chromium.connect(shared) : chromium.launch(start));
  const context = await browser.newContext(options);
  await context.newPage();
  const close = async () => {
    await context.close();
    await browser.close();
  };
  return { context, close };
}

/** Go to the front end with these settings on top of the usual ones, and wait until it has its graph. */
export async function openFrontend(page, url, settings = {}) {
  for (const [name, value] of Object.entries({ ...SETTINGS, ...settings })) {
    await page.request.post(`${url}/settings/${name}`, { data: JSON.stringify(value) });
  }
  await page.goto(url, { waitUntil: "load" });
  await frontendReady(page);
}

/** Wait until a page that is loading has its graph and its nodes. */
export async function frontendReady(page) {
  // The last extension is set up after the graph exists; the types come before both.
  await page.waitForFunction(
    () => window.app?.graph && window.app?.canvas && window.LiteGraph?.registered_node_types?.KSampler, null,
    { timeout: 120000 },
  );
  await page.waitForTimeout(1500);
}

function missing(text) {
  console.error(text);
  process.exit(3);
}
