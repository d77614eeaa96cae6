// What the rest of the graph says about a node's plan: its sampler's size, steps, preset, model.

import { PRESET, TIMELINES, TOLD_BY } from "./bands.js";

/** @type {T.kind} */
export const kind = (node) => String(node.comfyClass ?? node.type);

/** @type {T.widgetOf} */
export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

/** @type {T.source} */
function source(node, name) {
  const link = node.inputs?.find((input) => input.name === name)?.link;
  if (link == null || !node.graph) return undefined;
  const { links } = /** @type {any} */ (node.graph);
  return node.graph.getNodeById((links.get?.(link) ?? links[link])?.origin_id);
}

/** @type {T.gather} */
export function gather(node) {
  const { fields, links, nodes } = /** @type {Context} */ ({ fields: {}, links: {}, nodes: new Set() });
  for (const near of byDistance(node)) {
    nodes.add(String(near.id));
    for (const name of TOLD_BY[kind(near)] ?? []) {
      const field = name === "steps" ? "points" : name;
      if (field in fields || field in links) continue;
      const from = source(near, name);
      const value = widgetOf(near, name)?.value;
      if (from === undefined) fields[field] = name === "steps" ? Number(value) + 1 : value;
      // A preset's numbers come with its name; what else a link brings is known when it has run.
      else if (near === node && TIMELINES[kind(node)].some((own) => own === field)) links[field] = from;
    }
  }
  return { fields, links, nodes };
}

/** @type {T.isPreset} */
export const isPreset = (from) => from !== null && kind(from) === PRESET;

/** @type {T.byDistance} */
export function byDistance(node) {
  const found = new Set([node]);
  // What is added on the way is visited, too.
  for (const near of found) {
    const before = near.inputs?.map((input) => source(near, input.name)) ?? [];
    const after = near.outputs?.flatMap((_, slot) => near.getOutputNodes(slot) ?? []) ?? [];
    for (const next of [...before, ...after]) if (next) found.add(next);
  }
  return [...found];
}
