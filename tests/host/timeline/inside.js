// Runs in the page before anything else does: what the checks ask of the graph. Only tests load it.
window.luminaTest = (() => {
  const EMPTY = { last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 };

  const node = (id) => window.app.graph.getNodeById(id);
  const widget = (id, name) => node(id).widgets.find((candidate) => candidate.name === name);
  const timeline = (id) => node(id)?.widgets?.find((candidate) => candidate.name === "lumina_timeline")?.element;

  /** An empty workflow of its own, so that its undo begins here. */
  async function start() {
    await window.app.loadGraphData(structuredClone(EMPTY));
    look(1, 60, 60);
  }

  function look(scale, x, y) {
    window.app.canvas.ds.scale = scale;
    window.app.canvas.ds.offset[0] = x;
    window.app.canvas.ds.offset[1] = y;
    window.app.canvas.setDirty(true, true);
  }

  function make(type, values = {}, pos = [60, 60]) {
    const made = window.LiteGraph.createNode(type);
    if (!made) throw new Error(`the host has no node ${type}`);
    made.pos = [...pos];
    window.app.graph.add(made);
    for (const [name, value] of Object.entries(values)) put(made.id, name, value);
    remember();
    return made.id;
  }

  function put(id, name, value) {
    const found = widget(id, name);
    found.value = value;
    found.callback?.(value, window.app.canvas, node(id), [0, 0], {});
    window.app.canvas.setDirty(true, true);
    remember();
  }

  function connect(from, output, to, input) {
    const slot = node(to).inputs.findIndex((candidate) => candidate.name === input);
    if (slot < 0) throw new Error(`${node(to).type} has no input ${input}`);
    node(from).connect(typeof output === "number" ? output : node(from).outputs.findIndex((out) => out.name === output), node(to), slot);
    remember();
  }

  /** The host's undo sees what stands now; the two names are the newer and the older front end's. */
  function remember() {
    const tracker = window.app.extensionManager.workflow?.activeWorkflow?.changeTracker;
    if (tracker?.captureCanvasState) tracker.captureCanvasState();
    else tracker?.checkState();
  }

  /** An input as the text field, the workflow file and the prompt have it. */
  async function values(id, name) {
    const { workflow, output } = await window.app.graphToPrompt();
    const saved = workflow.nodes.find((candidate) => String(candidate.id) === String(id));
    const kept = node(id).widgets.filter((candidate) => candidate.serialize !== false);
    const place = kept.findIndex((candidate) => candidate.name === name);
    return { text: widget(id, name).value, saved: saved.widgets_values?.[place], prompt: output[String(id)]?.inputs[name] };
  }

  async function prompt() {
    const { workflow, output } = await window.app.graphToPrompt();
    return JSON.parse(JSON.stringify({ workflow, output }));
  }

  /** What the timeline shows. */
  function shown(id) {
    const root = timeline(id);
    if (!root?.isConnected) return null;
    const fields = {};
    for (const part of root.querySelectorAll(".lumina-segment")) {
      const field = (fields[part.dataset.field] ??= { values: [], thresholds: [] });
      field.values[Number(part.dataset.index)] = part.textContent.trim();
    }
    for (const handle of root.querySelectorAll(".lumina-handle")) {
      fields[handle.dataset.field].thresholds[Number(handle.dataset.index)] = Number(handle.getAttribute("aria-valuenow"));
    }
    const text = (selector) => root.querySelector(selector)?.textContent.trim() ?? "";
    return {
      state: root.dataset.state, revision: Number(root.dataset.revision), fields,
      error: text(".lumina-error"), mark: root.querySelector(".lumina-error mark")?.textContent ?? null,
      cost: text(".lumina-cost-text"), parts: root.querySelectorAll(".lumina-cost-part").length,
      result: text(".lumina-result"), status: text(".lumina-status"),
    };
  }

  function box(id, selector = "") {
    const root = timeline(id);
    const found = selector ? root?.querySelector(selector) : root;
    if (!found) return null;
    const { x, y, width, height } = found.getBoundingClientRect();
    return { x, y, width, height };
  }

  /** Where the classic canvas draws a widget, in the page. */
  function widgetPlace(id, name) {
    const at = node(id);
    const found = widget(id, name);
    const { scale, offset } = window.app.canvas.ds;
    const canvas = window.app.canvas.canvas.getBoundingClientRect();
    const x = at.pos[0] + at.size[0] * 0.6;
    const y = at.pos[1] + (found.y ?? found.last_y) + 10;
    return { x: canvas.x + (x + offset[0]) * scale, y: canvas.y + (y + offset[1]) * scale };
  }

  /** The node in the middle of the page, clear of whatever the front end lays over its edges. */
  function middle(id) {
    const { pos } = node(id);
    look(1, 500 - pos[0], 250 - pos[1]);
  }

  /** What a click there meets, for messages. */
  const under = (x, y) => document.elementFromPoint(x, y)?.outerHTML.slice(0, 200) ?? "nothing";

  function nodePlace(id) {
    const { pos, size } = node(id);
    const { scale, offset } = window.app.canvas.ds;
    const canvas = window.app.canvas.canvas.getBoundingClientRect();
    const [x, y] = [canvas.x + (pos[0] + offset[0]) * scale, canvas.y + (pos[1] + offset[1]) * scale];
    return { x, y, width: size[0] * scale, height: size[1] * scale };
  }

  const ids = (type) => window.app.graph.nodes.filter((candidate) => candidate.type === type).map(({ id }) => id);

  /** All nodes in view: the classic canvas draws no other. */
  function fit() {
    const { nodes } = window.app.graph;
    const side = (axis, far) => nodes.map(({ pos, size }) => pos[axis] + (far ? size[axis] : 0));
    const [left, top] = [Math.min(...side(0)), Math.min(...side(1))];
    const [wide, high] = [Math.max(...side(0, true)) - left, Math.max(...side(1, true)) - top];
    const scale = Math.min(1, 1400 / wide, 850 / high);
    look(scale, 60 / scale - left, 120 / scale - top);
  }

  /** Queue what stands there and wait for its end. */
  function run() {
    return new Promise((done, fail) => {
      const listen = (kind, act) => window.app.api.addEventListener(kind, (event) => act(event.detail), { once: true });
      listen("execution_success", () => done());
      listen("execution_error", (detail) => fail(new Error(JSON.stringify(detail).slice(0, 2000))));
      listen("execution_interrupted", () => fail(new Error("interrupted")));
      window.app.queuePrompt(0).then(() => {
        const errors = window.app.lastNodeErrors;
        if (Object.keys(errors ?? {}).length) fail(new Error(JSON.stringify(errors).slice(0, 2000)));
      }, fail);
    });
  }

  return { nodePlace, ids, fit, run, node, widget, timeline, start, look, make, put, connect, remember, values, prompt, shown, box, widgetPlace, middle, under };
})();
