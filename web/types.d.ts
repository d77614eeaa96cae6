// Types that the scripts in js/ share. For the type check only; the page never sees them.

/** A node of the host's graph; `comfyClass` is its kind, also before `type` is set. */
type GraphNode = import("@comfyorg/comfyui-frontend-types").LGraphNode & { comfyClass?: string };
/** A schedule of the plan. */
type Field = "patch" | "guidance" | "motion" | "negative_motion";
/** A patch size as text, a number, or null for none. */
type Value = string | number | null;
/** values[i + 1] holds from thresholds[i] on. */
type Schedule = { values: Value[]; thresholds: number[] };
/** Presets switch early, so the square root gives their segments room. */
type AxisKind = "sqrt" | "linear";
type Tick = { text: string; share: number };

/** What the graph says about a plan: inputs by name, nodes that feed inputs by links, ids of all connected nodes. */
type Context = { fields: Record<string, unknown>; links: Record<string, GraphNode | null>; nodes: Set<string> };
/** `budget` asks for the finest patch schedule of that share of 1x2 throughout. */
type Question = { fields: Record<string, unknown>; budget?: number };
/** A schedule as the server read it, or why it could not; `own` tells the node's text from the preset's. */
type Told = Schedule & { text: string; own: boolean; error?: string; span?: [number, number] };
type Segment = {
  patch: string; guided: boolean; t_start: number; t_end: number; first_step: number; last_step: number; steps: number;
  tokens: number; share: number;
};
type Outline = {
  grid: number[]; segments: Segment[]; flops: number; relative: number; least: number; nfe: number; passes: number;
};
type Estimate = { seconds: number; segments: number[]; runs: number; exact: boolean };
type Answer = {
  schedules: Record<Field, Told>; preset: string; patches: string[]; error: string | null; outline: Outline | null;
  estimate?: Estimate | null;
};
type Progress = { node: string; step: number; steps: number; t: number; patch: string; guided: boolean; text: string };
type RunPart = { patch: string; guided: boolean; seconds: number; estimate: number | null };
type RunResult = { node: string; seconds: number; estimate: number | null; segments: RunPart[] };
type MenuItem = { action: string; value: string; text: string; run: () => void };

/** A change of segment or boundary `index`. */
type Edit<Change> = (schedule: Schedule, index: number, change: Change) => Schedule;
type AxisMap = (place: number, kind: AxisKind) => number;
type GridMap = (grid: number[], place: number) => number;
