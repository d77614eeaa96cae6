// Drives a running host's real front end in an installed Chromium. Development only.
//   node scripts/frontend.mjs URL < jobs.json > results.json
// jobs.json is a list; each job yields one result of the same place in the list:
//   {"build": API prompt, "note": text?, "picture": file?}   makes the graph of an API-format prompt
//   {"load": workflow, "picture": file?}                     opens a workflow
//   {"drop": file, "picture": file?}                         opens what a file dropped on the page holds
// result: {"output": API prompt, "workflow": front-end format, "missing": [node types], "errors": [texts]}
// Exit code 3: playwright-core or Chromium is not there; stderr says which and how to get it.
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { buildGraph, dropFile, loadWorkflow, readGraph, showGraph } from "./frontend_page.mjs";

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
const MIME = { ".mp4": "video/mp4", ".png": "image/png", ".webm": "video/webm", ".json": "application/json" };
// A fresh profile would open the tutorial and the template browser over the graph.
const SETTINGS = {
  "Comfy.TutorialCompleted": true,
  "Comfy.Workflow.ShowMissingModelsWarning": false,
  "Comfy.Graph.CanvasInfo": false,
  "Comfy.VueNodes.Enabled": false,
  "Comfy.Minimap.Visible": false,
  // Text stays drawn however far out the picture zooms: the first name is the older front end's.
  "LiteGraph.Canvas.LowQualityRenderingZoomThreshold": 0.01,
  "LiteGraph.Canvas.MinFontSizeForLOD": 0,
};
const VIEW = { width: 2400, height: 1350 };

function missing(text) {
  console.error(text);
  process.exit(3);
}

function loadPlaywright() {
  try {
    return createRequire(new URL("../tests/web/package.json", import.meta.url))("playwright-core");
  } catch {
    return missing("playwright-core is not installed: run `npm install` in tests/web.");
  }
}

function findChromium() {
  return CHROMIUM.find((path) => path && existsSync(path)) ??
    missing("No Chromium was found: install one, or set CHROMIUM_PATH to it.");
}

async function openPage(context, url, errors) {
  const page = context.pages()[0] ?? (await context.newPage());
  page.on("pageerror", (error) => errors.push(String(error)));
  for (const [name, value] of Object.entries(SETTINGS)) {
    await page.request.post(`${url}/settings/${name}`, { data: JSON.stringify(value) });
  }
  await page.goto(url, { waitUntil: "load" });
  // The last extension is set up after the graph exists; the types come before both.
  await page.waitForFunction(
    () => window.app?.graph && window.app?.canvas && window.LiteGraph?.registered_node_types?.KSampler, null,
    { timeout: 120000 },
  );
  await page.waitForTimeout(1500);
  return page;
}

async function runJob(page, job) {
  if (job.build) await page.evaluate(buildGraph, { prompt: job.build, note: job.note ?? "" });
  else if (job.load) await page.evaluate(loadWorkflow, job.load);
  else {
    const bytes = (await readFile(job.drop)).toString("base64");
    const type = MIME[job.drop.slice(job.drop.lastIndexOf("."))] ?? "application/octet-stream";
    await page.evaluate(dropFile, { name: basename(job.drop), type, bytes });
  }
  await page.waitForTimeout(500);
  const result = await page.evaluate(readGraph);
  if (job.picture) await takePicture(page, job.picture);
  return result;
}

async function takePicture(page, file) {
  const clip = await page.evaluate(showGraph);
  await page.waitForTimeout(800);
  const jpeg = /\.jpe?g$/.test(file);
  await page.screenshot({ path: file, clip, type: jpeg ? "jpeg" : "png", ...(jpeg ? { quality: 85 } : {}) });
}

async function main() {
  const [url] = process.argv.slice(2);
  const jobs = JSON.parse(readFileSync(0, "utf8"));
  const { chromium } = loadPlaywright();
  const executablePath = findChromium();
  const profile = await mkdtemp(join(tmpdir(), "lumina-page-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, headless: true, args: FLAGS, viewport: VIEW,
  });
  try {
    const errors = [];
    const page = await openPage(context, url, errors);
    const results = [];
    for (const job of jobs) {
      errors.length = 0;
      results.push({ ...(await runJob(page, job)), errors: [...errors] });
    }
    console.log(JSON.stringify(results));
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

await main();
