// Which nodes have a timeline, what it edits, and where other nodes of the graph tell what the plan needs.

/** @typedef {"patch" | "guidance" | "motion" | "negative_motion"} Field a schedule of the plan */
/** @typedef {{band: string, fields: Field[]}} Band */

/** @type {Field[]} */
export const FIELDS = ["patch", "guidance", "motion", "negative_motion"];

/** @type {Band[]} */
export const BANDS = [
  { band: "patch", fields: ["patch"] },
  { band: "guidance", fields: ["guidance"] },
  { band: "motion", fields: ["motion", "negative_motion"] },
];

export const SAMPLER = "LuminaVideoMultiScaleSampler";
export const PRESET = "LuminaVideoPreset";
export const MEASURE = "LuminaVideoMeasureMotion";

/** Fields of the timeline of each node that has one. @type {Record<string, Field[]>} */
export const TIMELINES = {
  [SAMPLER]: FIELDS,
  [PRESET]: FIELDS,
  LuminaVideoPatchSchedule: ["patch"],
  LuminaVideoSplitSigmas: ["patch"],
  LuminaVideoGuidance: ["guidance"],
  LuminaVideoGuider: ["guidance"],
  LuminaVideoMotionScore: ["motion", "negative_motion"],
};

/** Widgets of other nodes that a plan is made of; a pair gives another name. @type {Record<string, (string | [string, string])[]>} */
export const TOLD_BY = {
  [SAMPLER]: [...FIELDS, "preset", "width", "height", "frames", "seconds", "points", "solver"],
  [PRESET]: ["preset"],
  LuminaVideoPatchSchedule: ["patch"],
  LuminaVideoGuidance: ["guidance", "renorm"],
  LuminaVideoGuider: ["guidance", "renorm"],
  LuminaVideoMotionScore: ["motion", "negative_motion"],
  LuminaVideoSigmas: ["points", "time_shift"],
  LuminaVideoEmptyLatent: ["width", "height", "frames"],
  LuminaVideoModelLoader: ["model_name", "weight_dtype"],
  KSampler: [["steps", "points"]],
  KSamplerAdvanced: [["steps", "points"]],
};
