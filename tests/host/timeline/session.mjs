// A page of the front end, and a node with a timeline in it, as a person uses them.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { frontendReady, openFrontend } from "../../../scripts/frontend_browser.mjs";
import { NodeOnPage } from "./node_on_page.mjs";
import { until } from "./check.mjs";

const INSIDE = fileURLToPath(new URL("inside.js", import.meta.url));
const WORKFLOWS = new URL("../../../workflows/", import.meta.url);
// Case matters: the weights that workflows name lie under another spelling.
const PACK = /\/lumina-video\/|lumina_timeline|luminaTest/;

export class Session {
  /** @param mode "classic" or "nodes2" */
  constructor(context, url, mode) {
    Object.assign(this, { context, url, mode });
    /** Requests are made to fail, and the browser says so. */
    this.deaf = false;
    /** What the console and uncaught errors said of our files. */
    this.faults = [];
  }

  async open(page = this.context.pages()[0]) {
    this.page = page;
    await page.addInitScript({ path: INSIDE });
    this.listen(page);
    await openFrontend(page, this.url, { "Comfy.VueNodes.Enabled": this.mode === "nodes2" });
    return this;
  }

  listen(page) {
    page.on("pageerror", (error) => {
      if (PACK.test(error.stack ?? "")) this.faults.push(`uncaught: ${error.stack}`);
    });
    page.on("console", (message) => {
      const text = `${message.text()} (${message.location().url})`;
      if (/error|warning/.test(message.type()) && !(this.deaf && /ERR_FAILED/.test(text)) && PACK.test(text)) this.faults.push(`${message.type()}: ${text}`);
    });
  }

  /** Run a function of luminaTest in the page. */
  ask(name, ...rest) {
    return this.page.evaluate(([called, given]) => window.luminaTest[called](...given), [name, rest]);
  }

  /** Empty workflow, then a node in it. */
  async fresh(type, values = {}) {
    await this.ask("start");
    return this.add(type, values);
  }

  async add(type, values = {}, pos = [60, 60]) {
    const node = new NodeOnPage(this, await this.ask("make", type, values, pos));
    await this.page.waitForTimeout(100);
    return node;
  }

  async reload() {
    await this.page.reload({ waitUntil: "load" });
    await frontendReady(this.page);
  }

  /** Ctrl and a letter, with the canvas in focus. */
  async command(keys) {
    await this.page.evaluate(() => {
      document.activeElement?.blur?.();
      window.app.canvas.canvas.focus();
    });
    await this.page.keyboard.press(keys);
    await this.page.waitForTimeout(300);
  }

  at(id) {
    return new NodeOnPage(this, id);
  }

  ids(type) {
    return this.ask("ids", type);
  }

  async others(id, type) {
    return (await this.ids(type)).filter((found) => String(found) !== String(id));
  }

  async find(type) {
    return this.at((await until(() => this.ids(type), (ids) => ids.length > 0, `a node ${type}`))[0]);
  }

  /** Open a shipped workflow. */
  load(name) {
    return this.loadGraph(JSON.parse(readFileSync(new URL(`${name}.json`, WORKFLOWS), "utf8")));
  }

  async loadGraph(workflow) {
    await this.page.evaluate((graph) => window.app.loadGraphData(graph), workflow);
    await this.ask("look", 1, 60, 60);
    await this.page.waitForTimeout(200);
  }

  set(name, value) {
    return this.page.evaluate(([id, to]) => window.app.extensionManager.setting.set(id, to), [name, value]);
  }

  async palette(name) {
    await this.set("Comfy.ColorPalette", name);
    await this.page.waitForTimeout(300);
  }

  /** Do something while requests to `pattern` fail. */
  async without(pattern, act) {
    await this.page.route(pattern, (route) => route.abort());
    this.deaf = true;
    try {
      await act();
    } finally {
      await this.page.unroute(pattern);
      this.deaf = false;
    }
  }

  /** A second page of the same kind, to which `pattern` is never served. */
  async another(pattern) {
    const page = await this.context.newPage();
    await page.route(pattern, (route) => route.abort());
    const session = new Session(this.context, this.url, this.mode);
    session.deaf = true;
    return session.open(page);
  }
}
