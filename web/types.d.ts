// Types that the scripts in js/ share. They are used only by the type check, not by the page.

/** A node of the host's graph; `comfyClass` is its kind, also before `type` is set. */
type GraphNode = import("@comfyorg/comfyui-frontend-types").LGraphNode & { comfyClass?: string };
type Widget = NonNullable<GraphNode["widgets"]>[number];
/** A field of the plan that holds a schedule. */
type Field = "patch" | "guidance" | "motion" | "negative_motion";
/** A patch size as text, a number, or null for none. */
type Value = string | number | null;
/** values[i + 1] holds from thresholds[i] on. */
type Schedule = { values: Value[]; thresholds: number[] };
/** The square root gives more space to small t, where presets switch. */
type AxisKind = "sqrt" | "linear";
type Tick = { text: string; share: number };

/** A node in a request to the plan route, with the inputs that have no link. */
type GraphPart = { kind: string; inputs: Record<string, unknown> };
/** The graph around a node: sources of its fields, nodes connected to it with their ids, and the id of Measure Motion. */
type Context = { links: Record<string, GraphNode | null | undefined>; nodes: GraphPart[]; ids: string[]; measure: string };
/** A request. `budget` asks for the finest patch schedule with that share of the cost of 1x2; `done` ends a drag. */
type Question = { fields: Record<string, unknown>; nodes: GraphPart[]; budget?: number; done?: boolean };
/** A schedule as the server parsed it, or its error; `own` is false where it is the preset's. */
type ParsedSchedule = Schedule & { text: string; own: boolean; error?: string; span?: [number, number] };
type Segment = {
  patch: string; guided: boolean; t_start: number; t_end: number; first_step: number; last_step: number; steps: number;
  tokens: number; share: number;
};
type Outline = {
  grid: number[]; segments: Segment[]; flops: number; relative: number; least: number; nfe: number; passes: number;
  memory: Memory;
};
/** In GiB: `held` is the peak, `room` what is available. `fits` is "offload" if weights must move to main memory; `advice` says how. */
type Memory = { held: number; room: number; fits: "yes" | "offload" | "no"; advice: string | null };
type Estimate = { seconds: number; segments: number[]; runs: number; exact: boolean };
type Answer = {
  schedules: Record<Field, ParsedSchedule>; preset: string; patches: string[]; error: string | null; outline: Outline | null;
  estimate?: Estimate | null;
};
type Progress = { node: string; step: number; steps: number; t: number; patch: string; guided: boolean; text: string };
type RunPart = { patch: string; guided: boolean; seconds: number; estimate: number | null };
type RunResult = { node: string; seconds: number; estimate: number | null; segments: RunPart[] };
type Track = import("./js/track.js").Track;
type Timeline = import("./js/timeline.js").Timeline;

/** Returns a schedule with segment or boundary `index` changed. */
type Edit<Change> = (schedule: Schedule, index: number, change: Change) => Schedule;
type AxisMap = (place: number, kind: AxisKind) => number;
type GridMap = (grid: number[], place: number) => number;

/** Signatures of the functions in js/. */
declare namespace T {
  // js/axis.js
  /** Labels of times, or of steps at their start if there is a grid. */
  type ticks = (kind: AxisKind, grid?: number[]) => Tick[];

  // js/cost_strip.js
  type show = (outline: Outline, estimate?: Estimate | null) => void;
  /** The budget is rounded to four digits and at least the cost of the coarsest patch size. */
  type ask = (budget: number, done: boolean) => void;

  // js/page.js
  /** The server's answer, or null if there is none. */
  type serviceAsk = (path: string, body?: unknown) => Promise<any>;
  type element = <Tag extends keyof HTMLElementTagNameMap>(
    tag: Tag, className: string, properties?: Record<string, any>, ...children: (Node | string)[]
  ) => HTMLElementTagNameMap[Tag];
  /** Position of the pointer along `track`, 0 to 1, at any zoom. */
  type shareAt = (track: HTMLElement, event: MouseEvent) => number;
  type makeDraggable = (handle: HTMLElement, track: HTMLElement, move: (share: number) => void, end: () => void) => void;
  /** The element that replaced another one when the timeline was redrawn. */
  type address = (root: Element | null, element: HTMLElement) => HTMLElement | null;
  /** Keep an event from the host and the browser. */
  type consume = (event: Event) => void;
  /** 1 or -1 for an arrow key. */
  type arrow = (event: KeyboardEvent) => number;

  // js/graph_context.js
  type kind = (node: GraphNode) => string;
  type widgetOf = (node: GraphNode, name: string) => Widget | undefined;
  /** The node linked to an input; undefined without a link. */
  type source = (node: GraphNode, name: string) => GraphNode | null | undefined;
  type gather = (node: GraphNode) => Context;

  // js/lumina_video.js
  type addTimeline = (node: GraphNode) => void;
  /** Call `then` after the object's own handler `name`. */
  type after = (object: any, name: string, then: (...values: any[]) => void) => void;
  /** Timelines of nodes that are connected to the node with this id. */
  type timelinesOf = (id: string) => Timeline[];
  type on = (name: string, act: (detail: any) => void) => void;

  // js/menu.js
  /** t: where the menu's split command splits. */
  type openSegmentMenu = (track: Track, index: number, t: number, anchor: HTMLElement) => void;
  type item = (action: string, text: string, run: () => void, value?: string) => HTMLButtonElement;
  /** index: of the boundary. */
  type openTimeEntry = (track: Track, index: number, anchor: HTMLElement) => void;
  type openEntry = (anchor: HTMLElement, label: string, value: string, enter: (text: string) => void) => void;
  /** Show a popover: the browser closes it on Escape and on a click elsewhere, and returns the focus. */
  type float = (popup: HTMLElement, anchor: HTMLElement, onKey: (event: KeyboardEvent) => void) => void;

  // js/report.js
  /** Show the message, and the text with the faulty part marked. */
  type showError = (sentence: string, fault?: ParsedSchedule) => void;
  type showResult = (run: RunResult) => void;
  /** score: measured. asked: text of the motion schedule. */
  type reportShowMotion = (score: number, asked: string) => void;

  // js/segments.js
  /** Like Python's repr, without ".0". */
  type numberText = (x: number) => string;
  type valueText = (value: Value) => string;
  /** Canonical text. */
  type format = (schedule: Schedule) => string;
  /** Start and end of a segment. */
  type span = (schedule: Schedule, index: number) => number[];
  /** Remove a segment: the previous one is extended, or for the first one the second. */
  type remove = (schedule: Schedule, index: number) => Schedule;

  // js/settings.js
  type setting = (name: string) => unknown;
  /** Set the user's default preset on a new node. A node from a workflow gets its saved preset right after. */
  type applyDefaultPreset = (node: GraphNode) => void;
  /** presets: the choices of the nodes. */
  type addSettings = (presets: string[], onChange: () => void) => void;
  type add = (group: string, name: string, more: object) => void;
  /** Called by the page also at its start, with `before` undefined. */
  type setRemember = (remember: boolean, before: unknown) => void;

  // js/timeline.js
  /** Index among the model's patch sizes; the finest is 0. */
  type rank = (patch: Value) => number;
  /** Apply a change from the timeline: write the text field, redraw, and ask for the cost. */
  type edit = (field: Field, schedule: Schedule, done: boolean) => void;
  /** Set a text that may be invalid: the server reports the error, and the text stays so that the user can fix it. */
  type editText = (field: Field, text: string) => void;
  /** Send one request at a time; of those that wait only the last is sent. */
  type askPlan = (question: Question) => Promise<void>;
  type write = (field: Field, text: string) => void;
  type timelineTake = (answer: Answer | null, question: Question) => void;
  /** The value at the top of a track; both motion scores share one. */
  type top = (field: Field) => number;
  type showProgress = (progress: Progress) => void;
  type timelineShowResult = (run: RunResult) => void;
  /** score: measured. */
  type timelineShowMotion = (score: number) => void;
  /** texts: schedules with which the node ran. */
  type showLinked = (texts: Record<string, string>) => void;
  /** Whether a link comes from a preset node. */
  type isPreset = (from: GraphNode | null) => boolean;
  /** row: "time" or "step". */
  type marks = (row: string, ticks: Tick[]) => HTMLElement[];

  // js/track.js
  /** top: the value at the top of the track. */
  type trackShow = (schedule: Schedule, readOnly: boolean, top: number) => void;
  type segment = (value: Value, index: number, disabled: boolean, top: number) => HTMLButtonElement;
  type next = (value: Value, up: number) => string | number;
  type handle = (index: number) => HTMLElement;
  /** Move a boundary by one step of the grid, unless that would cross an adjacent boundary. */
  type stepped = (index: number, sign: number) => Schedule;
  type change = (event: KeyboardEvent, next: Schedule) => void;
  type isDelete = (event: KeyboardEvent) => boolean;

  /** values: replace {name} in the text. */
  type i18n = (key: string, values?: Record<string, unknown>) => string;
  type count = (number: number) => string;
  /** Two significant digits. */
  type rough = (number: number) => string;
}
