// What a running host's front end shows of one of our nodes, and of our settings, in one language.
//   node tests/host/locale_page.mjs URL LOCALE NODE [PICTURE]
// Prints JSON: {title, widgets: {name: label}, slots: {name: label}, settings: {id: {name, tooltip?, options: {text: shown}}},
//   help: text of the node's help panel, pictures: [{src, width}] in it}. PICTURE is a file to show the page in.
// Exit code 3: playwright-core or Chromium is not there; stderr says which and how to get it.
import { openBrowser, openFrontend } from "../../scripts/frontend_browser.mjs";

const VIEW = { width: 1600, height: 1000 };
const HELP = ".node-help-content";

/** Runs in the page: a new node alone in the graph, and what it and our settings are called. */
function readWords(type) {
  const { app, LiteGraph } = window;
  app.graph.clear();
  const node = LiteGraph.createNode(type);
  Object.assign(app.canvas.ds, { offset: [0, 0], scale: 1 });
  node.pos = [600, 350];
  app.graph.add(node);
  app.canvas.selectNode(node);
  app.canvas.setDirty(true, true);
  const { $t } = document.querySelector("#vue-app").__vue_app__.config.globalProperties;
  const labels = (list) => Object.fromEntries(list.map((item) => [item.name, item.label ?? item.localized_name ?? item.name]));
  const key = (id) => id.replaceAll(".", "_");
  const ours = Object.values(app.ui.settings.settingsLookup).filter(({ id }) => id.startsWith("LuminaVideo."));
  const settings = ours.map(({ id, name, tooltip, options = [] }) => {
    const own = `settings.${key(id)}`;
    const shown = options.map((text) => [text, $t(`${own}.options.${key(text)}`, text)]);
    const told = tooltip ? { tooltip: $t(`${own}.tooltip`, tooltip) } : {};
    return [id, { name: $t(`${own}.name`, name), ...told, options: Object.fromEntries(shown) }];
  });
  return {
    title: node.title, widgets: labels(node.widgets), slots: labels(node.inputs), settings: Object.fromEntries(settings),
  };
}

/** The help panel as a user opens it: by the button over a selected node. */
async function readHelp(page) {
  // The older page may put the button below its menu bar, where a pointer does not reach it.
  await page.getByTestId("info-button").evaluate((button) => button.click());
  await page.locator(`${HELP} h1, ${HELP} .fallback-content`).first().waitFor();
  // Pictures that cannot be had are complete, too, and have no width.
  await page.waitForFunction((panel) => [...document.querySelectorAll(`${panel} img`)].every((image) => image.complete), HELP);
  return page.locator(HELP).first().evaluate((panel) => ({
    help: panel.innerText,
    pictures: [...panel.querySelectorAll("img")].map((image) => ({ src: image.getAttribute("src"), width: image.naturalWidth })),
  }));
}

async function main() {
  const [url, locale, type, picture] = process.argv.slice(2);
  const { context, close } = await openBrowser({ viewport: VIEW });
  try {
    const page = context.pages()[0];
    await openFrontend(page, url, { "Comfy.Locale": locale, "Comfy.Canvas.SelectionToolbox": true });
    const words = await page.evaluate(readWords, type);
    const help = await readHelp(page);
    if (picture) await page.screenshot({ path: picture });
    console.log(JSON.stringify({ ...words, ...help }));
  } finally {
    // The next page of this server is English again.
    await context.pages()[0].request.post(`${url}/settings/Comfy.Locale`, { data: JSON.stringify("en") });
    await close();
  }
}

await main();
