// Drives a running host's real front end in an installed Chromium. Development only.
//   node scripts/frontend.mjs URL < jobs.json > results.json
// jobs.json is a list; each job yields one result of the same place in the list:
//   {"build": API prompt, "note": text?, "screenshot": file?}   makes the graph of an API-format prompt
//   {"load": workflow, "screenshot": file?}                     opens a workflow
//   {"drop": file, "screenshot": file?}                         opens what a file dropped on the page holds
// result: {"output": API prompt, "workflow": front-end format, "missing": [node types], "errors": [texts]}
// Exit code 3: playwright-core or Chromium is not there; stderr says which and how to get it.
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { openBrowser, openFrontend } from "./frontend_browser.mjs";
import { buildGraph, dropFile, loadWorkflow, readGraph, showGraph } from "./frontend_page.mjs";

const MIME = { ".mp4": "video/mp4", ".png": "image/png", ".webm": "video/webm", ".json": "application/json" };
const VIEW = { width: 2400, height: 1350 };

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
  if (job.screenshot) await takeScreenshot(page, job.screenshot);
  return result;
}

async function takeScreenshot(page, file) {
  const clip = await page.evaluate(showGraph);
  await page.waitForTimeout(800);
  const jpeg = /\.jpe?g$/.test(file);
  await page.screenshot({ path: file, clip, type: jpeg ? "jpeg" : "png", ...(jpeg ? { quality: 85 } : {}) });
}

async function main() {
  const [url] = process.argv.slice(2);
  const jobs = JSON.parse(readFileSync(0, "utf8"));
  const { context, close } = await openBrowser({ viewport: VIEW });
  try {
    const errors = [];
    const page = context.pages()[0];
    page.on("pageerror", (error) => errors.push(String(error)));
    await openFrontend(page, url);
    const results = [];
    for (const job of jobs) {
      errors.length = 0;
      results.push({ ...(await runJob(page, job)), errors: [...errors] });
    }
    console.log(JSON.stringify(results));
  } finally {
    await close();
  }
}

await main();
