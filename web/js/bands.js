// Which nodes have a timeline, what it edits, and which widgets of other nodes a plan is made of.

/** @type {Field[]} */
const ALL = ["patch", "guidance", "motion", "negative_motion"];

/** The bands from top to bottom. @type {Record<string, Field[]>} */
export const BANDS = { patch: ["patch"], guidance: ["guidance"], motion: ["motion", "negative_motion"] };

export const SAMPLER = "LuminaVideoMultiScaleSampler";
export const PRESET = "LuminaVideoPreset";
export const MEASURE = "LuminaVideoMeasureMotion";

/** What the timeline of each node edits. @type {Record<string, Field[]>} */
export const TIMELINES = {
  [SAMPLER]: ALL,
  [PRESET]: ALL,
  LuminaVideoPatchSchedule: ["patch"],
  LuminaVideoSplitSigmas: ["patch"],
  LuminaVideoGuidance: ["guidance"],
  LuminaVideoGuider: ["guidance"],
  LuminaVideoMotionScore: ["motion", "negative_motion"],
};
/** Those that do not show what the plan costs. */
export const WITHOUT_COST = ["LuminaVideoMotionScore", "LuminaVideoSplitSigmas"];

/** @type {Record<string, string[]>} */
export const TOLD_BY = {
  [SAMPLER]: [...ALL, "preset", "width", "height", "frames", "seconds", "points", "solver"],
  [PRESET]: ["preset"],
  LuminaVideoPatchSchedule: ["patch"],
  LuminaVideoGuidance: ["guidance", "renorm"],
  LuminaVideoGuider: ["guidance", "renorm"],
  LuminaVideoMotionScore: ["motion", "negative_motion"],
  LuminaVideoSplitSigmas: ["patch"],
  LuminaVideoSigmas: ["points", "time_shift"],
  LuminaVideoEmptyLatent: ["width", "height", "frames"],
  LuminaVideoModelLoader: ["model_name", "weight_dtype"],
  KSampler: ["steps"],
  KSamplerAdvanced: ["steps"],
};
