// A node with a timeline, as a person uses it.
import { centre, until } from "./check.mjs";

export class NodeOnPage {
  constructor(session, id) {
    Object.assign(this, { session, id, page: session.page });
  }

  ask(name, ...rest) {
    return this.session.ask(name, this.id, ...rest);
  }

  shown() {
    return this.ask("shown");
  }

  /** Wait until the timeline has this state; gives what it shows then. */
  settled(state = "ok") {
    return until(() => this.shown(), (shown) => shown?.state === state && shown.revision > 0, `timeline is to be ${state}`);
  }

  /** Wait until a field is drawn with these values and thresholds. */
  async draws(field, values, thresholds) {
    const texts = values.map(String);
    await until(async () => (await this.shown())?.fields[field], { values: texts, thresholds }, `${field} as drawn`);
  }

  /** Text field, workflow file and prompt hold the same text. */
  async holds(field, text) {
    await until(() => this.ask("values", field), { text, saved: text, prompt: text }, `${field} in field, workflow and prompt`);
  }

  /** All of it: the text in three places, and the picture of it. */
  async is(field, text, values, thresholds) {
    await this.holds(field, text);
    await this.draws(field, values, thresholds);
  }

  part(selector) {
    return this.page.locator(`.lumina-timeline[data-node="${this.id}"] ${selector}`);
  }

  segment(field, index) {
    return this.part(`.lumina-segment[data-field="${field}"][data-index="${index}"]`);
  }

  handle(field, index) {
    return this.part(`.lumina-handle[data-field="${field}"][data-index="${index}"]`);
  }

  async focus(locator) {
    await locator.evaluate((element) => element.focus());
  }

  /** Type into the text field as a person does: a dialog on the classic canvas, an input in Nodes 2.0. */
  async type(field, text) {
    if (this.session.mode === "nodes2") {
      const input = this.page.locator(`[data-node-id="${this.id}"] input[aria-label="${field}"]`);
      await input.fill(text);
      await input.press("Enter");
      return;
    }
    await this.typeInDialog(field, text);
  }

  /**
   * The canvas' dialog may fail to open: a panel of the front end lies over the field, or a click right after another
   * counts as the second of two; and it closes by itself when a busy page notices late that the pointer has left it. A
   * person moves the canvas and clicks again, and so does this.
   */
  async typeInDialog(field, text) {
    const input = this.page.locator(".graphdialog input, .graphdialog textarea").first();
    const timeout = 2000;
    for (let tries = 0; tries < 5; tries += 1) {
      const { x, y } = await this.ask("widgetPlace", field);
      try {
        if (!(await input.isVisible())) await this.page.mouse.click(x, y);
        await input.fill(text, { timeout });
        await input.press("Enter", { timeout });
        return;
      } catch (error) {
        if (tries === 4) throw new Error(`${error.message}\nunder the pointer: ${await this.session.ask("under", x, y)}`);
        await this.page.keyboard.press("Escape");
        await this.ask("middle");
        await this.page.waitForTimeout(500);
      }
    }
  }

  /** Take hold of a boundary and move to flow time t; `drop` lets go. */
  async drag(field, index, t, { moves = 8, axis = "sqrt" } = {}) {
    const from = await centre(this.handle(field, index));
    const track = await this.track(field, index);
    await this.page.mouse.move(from.x, from.y);
    await this.page.mouse.down();
    await this.page.mouse.move(track.x + track.width * (axis === "linear" ? t : Math.sqrt(t)), from.y, { steps: moves });
  }

  async drop() {
    await this.page.mouse.up();
  }

  /** Where the axis of a boundary begins in the page, and how wide it is. */
  track(field, index) {
    const read = (handle) => {
      const { x, width } = handle.parentElement?.getBoundingClientRect() ?? {};
      return width ? { x, width } : null;
    };
    return until(() => this.handle(field, index).evaluate(read), (found) => found !== null, "the axis of the boundary");
  }

  /** Whether the classic canvas draws the node around its timeline. */
  async inside() {
    const [timeline, node] = [await this.ask("box"), await this.ask("nodePlace")];
    const near = 4;
    return timeline && timeline.y >= node.y - near && timeline.y + timeline.height <= node.y + node.height + near &&
      timeline.x >= node.x - near && timeline.x + timeline.width <= node.x + node.width + near;
  }
}
