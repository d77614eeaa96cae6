// Open the shipped workflows in a running host's real front end as their user does.
//   node tests/host/templates.mjs URL TASK classic|nodes2 < {NAME: workflow} > {NAME: answer}
// TASK and the answer per workflow:
//   again    {prompts, values, boxes}: load, convert, load what came of it, convert: the two API prompts; the values that the
//            two workflows keep; and where the nodes lie, as [type, left, top, right, bottom] in units of the graph
//   models   {offered: [what the page says is missing], saved: [{url, file}]}: every download clicked, and what it leaves
//   app      {fields, prompts: [before, in app mode], said: [warnings]}; null where the front end has no app mode
import { readFileSync } from "node:fs";
import { openBrowser, openFrontend } from "../../scripts/frontend_browser.mjs";
import { showGraph } from "../../scripts/frontend_page.mjs";

const HUB = "https://huggingface.co/**";
const APP_MODE = "Comfy.ToggleLinear";
// Both generations of the page name the file beside the button.
const DOWNLOAD = /^Download(?! all)/;
const TASKS = { again, models, app };

async function load(page, workflow) {
  await page.evaluate((graph) => window.app.loadGraphData(graph), workflow);
  await page.waitForTimeout(400);
}

const convert = (page) => page.evaluate(async () => JSON.parse(JSON.stringify(await window.app.graphToPrompt())));

async function again(page, workflow, mode) {
  await load(page, workflow);
  const first = await convert(page);
  await load(page, first.workflow);
  const second = await convert(page);
  await page.evaluate(showGraph);
  await page.waitForTimeout(400);
  const values = [first, second].map(({ workflow: { nodes } }) => nodes.map((node) => [node.id, node.type, node.widgets_values]));
  return { prompts: [first.output, second.output], values, boxes: await page.evaluate(boxes, mode === "nodes2") };
}

/** Runs in the page. Nodes 2.0 are as high as their elements, the others as their size says, and a title on top. */
function boxes(elements) {
  const { graph, canvas } = window.app;
  return graph.nodes.map(({ id, type, pos, size }) => {
    if (!elements) return [type, pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]];
    const box = document.querySelector(`[data-node-id="${id}"]`).getBoundingClientRect();
    return [type, ...[box.left, box.top, box.right, box.bottom].map((side) => side / canvas.ds.scale)];
  });
}

/** The hub answers as it does: the bytes, and no name for them but the link's own. */
async function hub(route) {
  const body = route.request().method() === "HEAD" ? "" : "bytes";
  const headers = { "content-type": "binary/octet-stream", "content-length": "5", "access-control-allow-origin": "*" };
  await route.fulfill({ status: 200, headers, body });
}

async function models(page, workflow) {
  await page.context().route(HUB, hub);
  await load(page, workflow);
  await page.waitForTimeout(2500);
  const more = page.getByTestId("error-overlay-see-errors");
  if (await more.isVisible()) await more.click();
  await page.waitForTimeout(1000);
  const saved = [];
  for (const button of await page.getByRole("button", { name: DOWNLOAD }).all()) {
    // Older pages refuse to download some file types.
    if (await button.isDisabled()) continue;
    const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
    saved.push({ url: download.url(), file: download.suggestedFilename() });
  }
  const offered = (await page.locator("body").innerText()).split("\n").filter((line) => /\.(safetensors|pth)/.test(line));
  return { offered, saved };
}

async function app(page, workflow) {
  const said = [];
  const listen = (message) => {
    // Tiles of a map of the world are no concern of a machine without a network.
    if (message.type() === "warning" || (message.type() === "error" && !/ERR_|404/.test(message.text()))) said.push(message.text());
  };
  page.on("console", listen);
  await load(page, workflow);
  const before = (await convert(page)).output;
  const toggle = () => page.evaluate((command) => {
    const { command: commands } = window.app.extensionManager;
    if (!commands.commands.some(({ id }) => id === command)) return false;
    return commands.execute(command).then(() => true);
  }, APP_MODE);
  if (!(await toggle())) return null;
  const labels = page.getByTestId("linear-widgets").getByTestId("builder-widget-label");
  await labels.first().waitFor();
  const fields = await labels.allInnerTexts();
  const during = (await convert(page)).output;
  await toggle();
  page.off("console", listen);
  return { fields, prompts: [before, during], said };
}

async function main() {
  const [url, task, mode] = process.argv.slice(2);
  const workflows = JSON.parse(readFileSync(0, "utf8"));
  const { context, close } = await openBrowser({ viewport: { width: 1600, height: 1000 } });
  try {
    const page = context.pages()[0];
    await openFrontend(page, url, {
      "Comfy.VueNodes.Enabled": mode === "nodes2",
      "Comfy.Workflow.ShowMissingModelsWarning": task === "models",
    });
    const answers = {};
    for (const [name, workflow] of Object.entries(workflows)) answers[name] = await TASKS[task](page, workflow, mode);
    console.log(JSON.stringify(answers));
  } finally {
    await close();
  }
}

await main();
