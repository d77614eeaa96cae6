// Functions that run inside the front end's page. Each is sent to it on its own, so it may use nothing outside itself.

/** Replace the graph by that of an API-format prompt: nodes, widget values, links, laid out from left to right. */
export function buildGraph({ prompt, note }) {
  const { app, LiteGraph } = window;
  app.graph.clear();
  const nodes = {};
  for (const [id, entry] of Object.entries(prompt)) {
    const node = LiteGraph.createNode(entry.class_type);
    if (!node) throw new Error(`the host has no node ${entry.class_type}`);
    node.id = Number(id);
    if (entry._meta?.title) node.title = entry._meta.title;
    app.graph.add(node);
    nodes[id] = node;
  }
  for (const [id, entry] of Object.entries(prompt)) {
    for (const [name, value] of Object.entries(entry.inputs)) {
      if (Array.isArray(value)) link(id, name, value);
      else setWidget(id, name, value);
    }
    // A seed that changes by itself would make every run differ from the file.
    for (const widget of nodes[id].widgets ?? []) {
      if (widget.name === "control_after_generate") widget.value = "fixed";
    }
  }
  arrange();
  app.graph.setDirtyCanvas(true, true);

  function link(id, name, [source, slot]) {
    const index = nodes[id].inputs.findIndex((input) => input.name === name);
    if (index < 0) throw new Error(`${nodes[id].type} has no input ${name}`);
    nodes[source].connect(slot, nodes[id], index);
  }

  function setWidget(id, name, value) {
    const widget = nodes[id].widgets?.find((candidate) => candidate.name === name);
    if (!widget) throw new Error(`${nodes[id].type} has no widget ${name}`);
    widget.value = value;
    widget.callback?.(value, app.canvas, nodes[id]);
  }

  /** Column of a node: one left of its first consumer; a final node stands one right of its last source. */
  function columns() {
    const sources = (id) => Object.values(prompt[id].inputs).filter(Array.isArray).map(([source]) => source);
    const depth = {};
    const deepen = (id) => (depth[id] ??= Math.max(-1, ...sources(id).map(deepen)) + 1);
    Object.keys(prompt).forEach(deepen);
    const byDepth = Object.keys(prompt).sort((a, b) => depth[b] - depth[a]);
    for (const id of byDepth) {
      const consumers = byDepth.filter((other) => sources(other).includes(id));
      if (consumers.length) depth[id] = Math.min(...consumers.map((other) => depth[other])) - 1;
    }
    return depth;
  }

  function arrange() {
    const depth = columns();
    let x = 40;
    if (note) x = addNote(x);
    for (let column = 0; column <= Math.max(...Object.values(depth)); column += 1) {
      let y = 60;
      let width = 0;
      for (const id of Object.keys(prompt).filter((candidate) => depth[candidate] === column)) {
        const node = nodes[id];
        const [wide, high] = node.computeSize();
        // Room to read a prompt in each text field.
        const fields = (node.widgets ?? []).filter((widget) => widget.type === "customtext").length;
        node.setSize([Math.max(wide, fields ? 400 : 270, 8 * node.title.length + 60), high + 60 * fields]);
        node.pos = [x, y];
        y += node.size[1] + roomBelow(node);
        width = Math.max(width, node.size[0]);
      }
      if (width) x += width + 60;
    }
  }

  /** Images appear under some nodes, and the newer renderer draws every node higher than its size says. */
  function roomBelow(node) {
    const previews = ["PreviewImage", "SaveImage", "SaveVideo", "SamplerCustomAdvanced", "KSampler"];
    return previews.includes(node.type) ? 340 : 80 + 12 * (node.widgets?.length ?? 0);
  }

  function addNote(x) {
    const node = LiteGraph.createNode("MarkdownNote") ?? LiteGraph.createNode("Note");
    app.graph.add(node);
    node.widgets[0].value = note;
    node.pos = [x, 60];
    node.setSize([340, 260]);
    return x + 400;
  }
}

/** Open a workflow of the front end's own format. */
export async function loadWorkflow(workflow) {
  await window.app.loadGraphData(workflow);
}

/** Open a file as if it had been dropped on the page. */
export async function dropFile({ name, type, bytes }) {
  const data = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  window.app.graph.clear();
  await window.app.handleFile(new File([data], name, { type }));
}

/** The graph in both formats, and the node types that the host does not know. */
export async function readGraph() {
  const { output, workflow } = await window.app.graphToPrompt();
  const known = window.LiteGraph.registered_node_types;
  const missing = workflow.nodes.map((node) => node.type).filter((type) => !known[type]);
  return { output, workflow: JSON.parse(JSON.stringify(workflow)), missing };
}

/** Fit the graph into the window with nothing over it; returns the part of the page that it fills. */
export function showGraph() {
  const { app } = window;
  const style = document.createElement("style");
  // Menus, side bars and messages lie over the canvas in both front-end generations.
  style.textContent = `.comfyui-body-top, .comfyui-body-left, .comfyui-body-right, .comfyui-body-bottom, .comfy-menu,
    .side-tool-bar-container, .side-bar-panel, .p-toast, .p-dialog-mask, .workflow-tabs-container, .comfyui-menu,
    .actionbar, .p-selectbutton, .graph-canvas-panel > :not(#graph-canvas), .selection-toolbox, .minimap-main-container,
    .p-buttongroup, .comfy-vue-side-bar-container { visibility: hidden !important; }`;
  document.head.append(style);
  app.canvas.deselectAll?.();
  const margin = 40;
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const node of app.graph.nodes ?? app.graph._nodes) {
    left = Math.min(left, node.pos[0]);
    top = Math.min(top, node.pos[1] - 30);
    right = Math.max(right, node.pos[0] + node.size[0]);
    bottom = Math.max(bottom, node.pos[1] + node.size[1]);
  }
  const box = app.canvas.canvas.getBoundingClientRect();
  const [wide, high] = [right - left + 2 * margin, bottom - top + 2 * margin];
  const scale = Math.min(box.width / wide, box.height / high, 1);
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [margin - left, margin - top];
  app.graph.setDirtyCanvas(true, true);
  app.canvas.draw(true, true);
  return { x: box.x, y: box.y, width: Math.min(box.width, wide * scale), height: Math.min(box.height, high * scale) };
}
