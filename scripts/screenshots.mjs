// Takes screenshots of nodes in a running host's front end. Started by build_screenshots.py.
//   node scripts/screenshots.mjs URL < job.json      prints the path of each screenshot
// job.json: {"timelines": folder} or {"nodes": [{"type": node type, "screenshot": file}]}
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openBrowser } from "./frontend_browser.mjs";
import { Session } from "../tests/host/timeline/session.mjs";

const WORKFLOW = "1_mini_text_to_video";
const SAMPLER = "LuminaVideoMultiScaleSampler";
const MARGIN = 14;
const HIDE = `.comfyui-body-top, .comfyui-body-left, .comfyui-body-right, .comfyui-body-bottom, .comfy-menu,
  .side-tool-bar-container, .side-bar-panel, .p-toast, .p-dialog-mask, .workflow-tabs-container, .comfyui-menu, .actionbar,
  .graph-canvas-panel > :not(#graph-canvas), .selection-toolbox, .minimap-main-container, .p-buttongroup,
  .comfy-vue-side-bar-container, [data-testid="error-overlay"] { visibility: hidden !important; }`;

/** Photograph the node alone, all of it in view. */
async function photograph(session, id, file) {
  const { page } = session;
  await page.addStyleTag({ content: HIDE });
  await page.evaluate((of) => {
    window.app.canvas.deselectAll?.();
    window.app.canvas.links_render_mode = window.LiteGraph.HIDDEN_LINK;
    const [x, y] = window.luminaTest.node(of).pos;
    window.luminaTest.look(1, 420 - x, 120 - y);
  }, id);
  await page.mouse.move(5, 5);
  await page.waitForTimeout(700);
  const box = await page.evaluate((of) => {
    const drawn = document.querySelector(`[data-node-id="${of}"]`)?.getBoundingClientRect();
    if (drawn) return { x: drawn.x, y: drawn.y, width: drawn.width, height: drawn.height };
    const place = window.luminaTest.nodePlace(of);
    return { ...place, y: place.y - 30, height: place.height + 30 };
  }, id);
  const clip = { x: box.x - MARGIN, y: box.y - MARGIN, width: box.width + 2 * MARGIN, height: box.height + 2 * MARGIN };
  await page.screenshot({ path: file, clip });
  console.log(file);
}

async function timelines(url, folder) {
  for (const mode of ["classic", "nodes2"]) {
    await withSession(url, mode, 2, async (session) => {
      await session.load(WORKFLOW);
      const node = await session.find(SAMPLER);
      await session.page.evaluate((of) => {
        const found = window.luminaTest.node(of);
        // No higher than it must be: the screenshot is about the timeline.
        found.setSize([460, found.computeSize()[1]]);
      }, node.id);
      await node.settled();
      // The second run has the first one's times to be compared with.
      for (const seed of [7, 8]) {
        await node.ask("put", "seed", seed);
        await session.ask("run");
        await session.page.waitForTimeout(500);
      }
      for (const palette of ["dark", "light"]) {
        await session.palette(palette);
        await photograph(session, node.id, join(folder, `timeline_${mode}_${palette}.png`));
      }
      await session.palette("dark");
    });
  }
}

async function nodes(url, list) {
  await withSession(url, "classic", 1, async (session) => {
    for (const { type, screenshot } of list) {
      const node = await session.fresh(type);
      if (await node.shown()) await node.settled();
      await photograph(session, node.id, screenshot);
    }
  });
}

async function withSession(url, mode, deviceScaleFactor, act) {
  const { context, close } = await openBrowser({ viewport: { width: 1600, height: 1700 }, deviceScaleFactor });
  try {
    const session = await new Session(context, url, mode).open();
    await session.set("Comfy.NodeBadge.NodeSourceBadgeMode", "None");
    await act(session);
  } finally {
    await close();
  }
}

const job = JSON.parse(readFileSync(0, "utf8"));
if (job.timelines) await timelines(process.argv[2], job.timelines);
if (job.nodes) await nodes(process.argv[2], job.nodes);
