// Which nodes have a timeline, what it edits, and which widgets of other nodes a plan is made of.

export const SAMPLER = "LuminaVideoMultiScaleSampler";
export const PRESET = "LuminaVideoPreset";
export const MEASURE = "LuminaVideoMeasureMotion";

/** The bands from top to bottom. @type {Record<string, Field[]>} */
export const BANDS = { patch: ["patch"], guidance: ["guidance"], motion: ["motion", "negative_motion"] };
const { patch, guidance, motion } = BANDS;
const all = Object.values(BANDS).flat();

/** What the timeline of each node edits. @type {Record<string, Field[]>} */
export const TIMELINES = {
  [SAMPLER]: all,
  [PRESET]: all,
  LuminaVideoPatchSchedule: patch,
  LuminaVideoSplitSigmas: patch,
  LuminaVideoGuidance: guidance,
  LuminaVideoGuider: guidance,
  LuminaVideoMotionScore: motion,
};
/** Those that do not show what the plan costs. */
export const WITHOUT_COST = ["LuminaVideoMotionScore", "LuminaVideoSplitSigmas"];

const size = ["width", "height", "frames"];
/** @type {Record<string, string[]>} */
export const TOLD_BY = {
  [SAMPLER]: [...all, "preset", ...size, "seconds", "points", "solver"],
  [PRESET]: ["preset"],
  LuminaVideoPatchSchedule: patch,
  LuminaVideoGuidance: [...guidance, "renorm"],
  LuminaVideoGuider: [...guidance, "renorm"],
  LuminaVideoMotionScore: motion,
  LuminaVideoSplitSigmas: patch,
  LuminaVideoSigmas: ["points", "time_shift"],
  LuminaVideoEmptyLatent: size,
  LuminaVideoModelLoader: ["model_name", "weight_dtype"],
  KSampler: ["steps"],
  KSamplerAdvanced: ["steps"],
};
