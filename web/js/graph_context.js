// What the rest of the graph says about a node's plan: its sampler's size, steps, preset, model.

import { PRESET, TIMELINES, TOLD_BY } from "./bands.js";

/** @typedef {import("@comfyorg/comfyui-frontend-types").LGraphNode} Node */
/** @typedef {{fields: Record<string, unknown>, links: Record<string, Node | null>, nodes: Set<string>}} Context
 * fields: inputs by name; links: inputs that a link feeds, and the node it comes from; nodes: ids of the connected nodes */

/** Id of the node's kind; `type` is not set yet when a node is made. @param {Node} node */
export function kind(node) {
  return String(/** @type {any} */ (node).comfyClass ?? node.type);
}

/** The node and the slot that feed an input. @param {Node} node @param {string} name @returns {Node | null | undefined} undefined without a link */
export function source(node, name) {
  const input = node.inputs?.find((candidate) => candidate.name === name);
  if (input?.link == null || !node.graph) return undefined;
  const link = node.graph.links.get?.(input.link) ?? /** @type {any} */ (node.graph.links)[input.link];
  return link ? node.graph.getNodeById(link.origin_id) : null;
}

/** Everything the plan route wants to know for `node`: its own widgets first, then those of the nearest nodes. @param {Node} node @returns {Context} */
export function gather(node) {
  /** @type {Context} */
  const context = { fields: {}, links: {}, nodes: new Set() };
  const own = new Set(TIMELINES[kind(node)] ?? []);
  for (const near of byDistance(node)) {
    context.nodes.add(String(near.id));
    for (const told of TOLD_BY[kind(near)] ?? []) {
      const [widgetName, field] = Array.isArray(told) ? told : [told, told];
      if (field in context.fields || (field in context.links && near !== node)) continue;
      const from = source(near, widgetName);
      if (from !== undefined) {
        // A preset's numbers come with its name; others are known when they have run.
        if (near === node && own.has(/** @type {any} */ (field))) context.links[field] = from;
        continue;
      }
      const value = near.widgets?.find((widget) => widget.name === widgetName)?.value;
      context.fields[field] = widgetName === "steps" ? Number(value) + 1 : value;
    }
  }
  return context;
}

/** Whether the plan's own text of this field stands in a preset node. @param {Node | null | undefined} from */
export function isPreset(from) {
  return from != null && kind(from) === PRESET;
}

/** The node and all that links join to it, nearest first. @param {Node} node @returns {Node[]} */
export function byDistance(node) {
  const found = [node];
  const seen = new Set(found);
  for (const near of found) {
    for (const next of neighbours(near)) {
      if (seen.has(next)) continue;
      seen.add(next);
      found.push(next);
    }
  }
  return found;
}

/** @param {Node} node @returns {Node[]} */
function neighbours(node) {
  const before = (node.inputs ?? []).map((input) => source(node, input.name));
  const after = (node.outputs ?? []).flatMap((_, slot) => node.getOutputNodes(slot) ?? []);
  return [...before, ...after].filter((near) => near != null);
}
