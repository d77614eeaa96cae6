// Types that the scripts in js/ share. For the type check only; the page never sees them.

/** A node of the host's graph; `comfyClass` is its kind, also before `type` is set. */
type GraphNode = import("@comfyorg/comfyui-frontend-types").LGraphNode & { comfyClass?: string };
type Widget = NonNullable<GraphNode["widgets"]>[number];
/** A schedule of the plan. */
type Field = "patch" | "guidance" | "motion" | "negative_motion";
/** A patch size as text, a number, or null for none. */
type Value = string | number | null;
/** values[i + 1] holds from thresholds[i] on. */
type Schedule = { values: Value[]; thresholds: number[] };
/** Presets switch early, so the square root gives their segments room. */
type AxisKind = "sqrt" | "linear";
type Tick = { text: string; share: number };

/** A node as the plan route wants to know it: the inputs that have no link. */
type GraphPart = { kind: string; inputs: Record<string, unknown> };
/** What the graph says about a plan: nodes that feed the node's fields, all that are joined to it, what measures it. */
type Context = { links: Record<string, GraphNode | null | undefined>; nodes: GraphPart[]; ids: string[]; measure: string };
/** `budget` asks for the finest patch schedule of that share of 1x2 throughout; `done` tells the last of a drag. */
type Question = { fields: Record<string, unknown>; nodes: GraphPart[]; budget?: number; done?: boolean };
/** A schedule as the server read it, or why it could not; `own` tells the node's text from the preset's. */
type Told = Schedule & { text: string; own: boolean; error?: string; span?: [number, number] };
type Segment = {
  patch: string; guided: boolean; t_start: number; t_end: number; first_step: number; last_step: number; steps: number;
  tokens: number; share: number;
};
type Outline = {
  grid: number[]; segments: Segment[]; flops: number; relative: number; least: number; nfe: number; passes: number;
  memory: Memory;
};
/** GiB; `held` as the host will run it. `fits` is "offload" where the host gets by with weights in main memory and the like; `advice` says how. */
type Memory = { held: number; room: number; fits: "yes" | "offload" | "no"; advice: string | null };
type Estimate = { seconds: number; segments: number[]; runs: number; exact: boolean };
type Answer = {
  schedules: Record<Field, Told>; preset: string; patches: string[]; error: string | null; outline: Outline | null;
  estimate?: Estimate | null;
};
type Progress = { node: string; step: number; steps: number; t: number; patch: string; guided: boolean; text: string };
type RunPart = { patch: string; guided: boolean; seconds: number; estimate: number | null };
type RunResult = { node: string; seconds: number; estimate: number | null; segments: RunPart[] };
type Track = import("./js/track.js").Track;
type Timeline = import("./js/timeline.js").Timeline;

/** A change of segment or boundary `index`. */
type Edit<Change> = (schedule: Schedule, index: number, change: Change) => Schedule;
type AxisMap = (place: number, kind: AxisKind) => number;
type GridMap = (grid: number[], place: number) => number;

/** What each function of js/ takes and gives. */
declare namespace T {
  // js/axis.js
  /** Marks of times, or of the steps of a grid where they start. */
  type ticks = (kind: AxisKind, grid?: number[]) => Tick[];

  // js/cost_strip.js
  type show = (outline: Outline, estimate?: Estimate | null) => void;
  /** Four digits, not below what the coarsest patch size costs. */
  type ask = (budget: number, done: boolean) => void;

  // js/page.js
  /** The server's answer, or null where none came. */
  type serviceAsk = (path: string, body?: unknown) => Promise<any>;
  type element = <Tag extends keyof HTMLElementTagNameMap>(
    tag: Tag, className: string, properties?: Record<string, any>, ...children: (Node | string)[]
  ) => HTMLElementTagNameMap[Tag];
  /** Where along `track` the pointer is, 0 to 1, whatever the zoom. */
  type shareAt = (track: HTMLElement, event: MouseEvent) => number;
  type makeDraggable = (handle: HTMLElement, track: HTMLElement, move: (share: number) => void, end: () => void) => void;
  /** The element that replaced another one when the timeline was redrawn. */
  type address = (root: Element | null, element: HTMLElement) => HTMLElement | null;
  /** This event is ours, not the host's. */
  type take = (event: Event) => void;
  /** 1 or -1 for an arrow key. */
  type arrow = (event: KeyboardEvent) => number;

  // js/graph_context.js
  type kind = (node: GraphNode) => string;
  type widgetOf = (node: GraphNode, name: string) => Widget | undefined;
  /** The node that feeds an input; undefined without a link. */
  type source = (node: GraphNode, name: string) => GraphNode | null | undefined;
  type gather = (node: GraphNode) => Context;

  // js/lumina_video.js
  type addTimeline = (node: GraphNode) => void;
  /** Call `then` after the object's own handler of that name. */
  type after = (object: any, name: string, then: (...values: any[]) => void) => void;
  /** Timelines of nodes that links join to the node of an id. */
  type joinedTo = (id: string) => Timeline[];
  type on = (name: string, act: (detail: any) => void) => void;

  // js/menu.js
  /** t: where to split. */
  type openSegmentMenu = (track: Track, index: number, t: number, anchor: HTMLElement) => void;
  type item = (action: string, text: string, run: () => void, value?: string) => HTMLButtonElement;
  /** index: of the boundary. */
  type openTimeEntry = (track: Track, index: number, anchor: HTMLElement) => void;
  type openEntry = (anchor: HTMLElement, label: string, value: string, enter: (text: string) => void) => void;
  /** As a popover: the browser closes it on Escape and on a click elsewhere, and gives the focus back. */
  type float = (popup: HTMLElement, anchor: HTMLElement, onKey: (event: KeyboardEvent) => void) => void;

  // js/report.js
  /** The sentence, and the text with the faulty part marked. */
  type showError = (sentence: string, fault?: Told) => void;
  type showResult = (run: RunResult) => void;
  /** score: measured. asked: the schedule's text. */
  type reportShowMotion = (score: number, asked: string) => void;

  // js/segments.js
  /** As Python's repr, without ".0". */
  type numberText = (x: number) => string;
  type valueText = (value: Value) => string;
  /** Canonical text. */
  type format = (schedule: Schedule) => string;
  /** Start and end of a segment. */
  type span = (schedule: Schedule, index: number) => number[];
  /** The segment before is extended, or the second becomes the first. */
  type remove = (schedule: Schedule, index: number) => Schedule;

  // js/settings.js
  type setting = (name: string) => unknown;
  /** A new node takes the user's preset; one that is loaded gets its own back right after. */
  type applyDefaultPreset = (node: GraphNode) => void;
  /** presets: that the nodes offer. */
  type addSettings = (presets: string[], onChange: () => void) => void;
  type add = (group: string, name: string, more: object) => void;
  /** The page also calls it when it starts, and then there is no value before. */
  type setRemember = (remember: boolean, before: unknown) => void;

  // js/timeline.js
  /** Place among the model's patch sizes, finest 0. */
  type rank = (patch: Value) => number;
  /** A change made here: written to the text field, drawn, priced. */
  type edit = (field: Field, schedule: Schedule, done: boolean) => void;
  /** Text that may not be a schedule: the server reports it, and the text stays so that you can fix it. */
  type editText = (field: Field, text: string) => void;
  /** One question at a time, and of those that wait only the last. */
  type askPlan = (question: Question) => Promise<void>;
  type write = (field: Field, text: string) => void;
  type timelineTake = (answer: Answer | null, question: Question) => void;
  /** The value that reaches the top of a track; the motion scores share theirs. */
  type top = (field: Field) => number;
  type showProgress = (progress: Progress) => void;
  type timelineShowResult = (run: RunResult) => void;
  /** score: measured of the clip. */
  type timelineShowMotion = (score: number) => void;
  /** What the node ran with. */
  type showLinked = (texts: Record<string, string>) => void;
  /** Whether a link's value is that of a preset node. */
  type isPreset = (from: GraphNode | null) => boolean;
  /** The first says what is counted. */
  type marks = (row: string, ticks: Tick[]) => HTMLElement[];

  // js/track.js
  /** top: value that reaches the top. */
  type trackShow = (schedule: Schedule, readOnly: boolean, top: number) => void;
  type segment = (value: Value, index: number, disabled: boolean, top: number) => HTMLButtonElement;
  type next = (value: Value, up: number) => string | number;
  type handle = (index: number) => HTMLElement;
  /** A boundary one step of the grid further, unless its neighbour stands in the way. */
  type stepped = (index: number, way: number) => Schedule;
  type change = (event: KeyboardEvent, next: Schedule) => void;
  type isDelete = (event: KeyboardEvent) => boolean;

  /** values: what stands for {name}. */
  type word = (key: string, values?: Record<string, unknown>) => string;
  type count = (number: number) => string;
  /** Two digits that matter. */
  type rough = (number: number) => string;
}
