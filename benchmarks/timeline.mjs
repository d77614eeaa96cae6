// Traces a drag on the timeline in a running host's real front end.
//   node benchmarks/timeline.mjs URL classic|nodes2
// The all-in-one sampler with 8 patch segments, 100 pointer moves. Prints one JSON object: milliseconds per pointer move
// in our and the host's handlers of it (`handlers`) and in all scripts of the page until the next move, the host's drawing
// of its graph among them (`scripts`), median and max; what of that is our functions and what they call (`ours`, mean, from
// a second drag under the profiler); calls of our functions in 2 s without input (`idle_calls`).
import { openBrowser } from "../scripts/frontend_browser.mjs";
import { Session } from "../tests/host/timeline/session.mjs";

const SEGMENTS = "2x4 | 0.03: 2x2 | 0.06: 2x4 | 0.1: 2x2 | 0.2: 1x2 | 0.3: 2x2 | 0.5: 1x2 | 0.7: 2x2";
const MOVES = 100;
const PAUSE = 40;
const IDLE = 2000;
const OURS = /\/lumina-video\/js\//;
const SCRIPT = new Set([
  "EventDispatch", "FunctionCall", "RunMicrotasks", "TimerFire", "FireAnimationFrame", "EvaluateScript", "FireIdleCallback",
  "WebSocketReceive",
]);

/** Events of the page's main thread while `act` runs. */
async function trace(devtools, act) {
  const events = [];
  devtools.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  const complete = new Promise((done) => devtools.once("Tracing.tracingComplete", done));
  await devtools.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["devtools.timeline"] } });
  await act();
  await devtools.send("Tracing.end");
  await complete;
  return events;
}

/** Milliseconds of the thread's own time, which another program on the machine does not lengthen. */
const spent = (event) => (event.tdur ?? event.dur) / 1000;

/** Script of each pointer move. */
function perMove(events) {
  const move = (event) => event.name === "EventDispatch" && event.args.data?.type === "pointermove";
  const { pid, tid } = events.find(move);
  const script = events.filter((event) => event.ph === "X" && event.pid === pid && event.tid === tid && SCRIPT.has(event.name));
  script.sort((a, b) => a.ts - b.ts || b.dur - a.dur);
  const moves = [];
  let end = 0;
  for (const event of script) {
    // One inside another is counted with it.
    if (event.ts < end) continue;
    end = event.ts + event.dur;
    if (move(event)) moves.push({ handlers: 0, scripts: 0 });
    const last = moves.at(-1);
    if (!last) continue;
    last.scripts += spent(event);
    if (event.name === "EventDispatch" && /move/.test(event.args.data?.type)) last.handlers += spent(event);
  }
  return moves;
}

/** Mean milliseconds per move in our functions and what they call, by samples of the stack. */
async function ours(devtools, act) {
  await devtools.send("Profiler.enable");
  await devtools.send("Profiler.setSamplingInterval", { interval: 200 });
  await devtools.send("Profiler.start");
  await act();
  const { profile } = await devtools.send("Profiler.stop");
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])));
  const isOurs = (id) => id !== undefined && (OURS.test(nodes.get(id).callFrame.url) || isOurs(parents.get(id)));
  const micros = profile.samples.reduce((sum, id, index) => sum + (isOurs(id) ? profile.timeDeltas[index] : 0), 0);
  return Number((micros / 1000 / MOVES).toFixed(2));
}

async function idleCalls(session, devtools) {
  await session.page.mouse.move(1590, 1090);
  await session.page.waitForTimeout(1500);
  await devtools.send("Profiler.enable");
  await devtools.send("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  await devtools.send("Profiler.takePreciseCoverage");
  await session.page.waitForTimeout(IDLE);
  const { result } = await devtools.send("Profiler.takePreciseCoverage");
  const ours = result.filter(({ url }) => OURS.test(url)).flatMap(({ functions }) => functions);
  return ours.reduce((sum, { ranges }) => sum + ranges[0].count, 0);
}

function summary(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return { median: Number(sorted[sorted.length >> 1].toFixed(2)), max: Number(sorted.at(-1).toFixed(2)) };
}

async function main() {
  const [url, mode] = process.argv.slice(2);
  const { context, close } = await openBrowser({ viewport: { width: 1600, height: 1100 } });
  try {
    const session = await new Session(context, url, mode).open();
    const node = await session.fresh("LuminaVideoMultiScaleSampler", { patch: SEGMENTS });
    await node.settled();
    const devtools = await context.newCDPSession(session.page);
    const { x, width } = await node.track("patch", 3);
    await node.drag("patch", 3, 0.15);
    const { y } = await node.handle("patch", 3).boundingBox();
    const drag = async () => {
      for (let move = 0; move < MOVES; move += 1) {
        const t = 0.15 + 0.045 * Math.sin(move / 6);
        await session.page.mouse.move(x + width * Math.sqrt(t), y + 5);
        await session.page.waitForTimeout(PAUSE);
      }
    };
    const moves = perMove(await trace(devtools, drag));
    const mean = await ours(devtools, drag);
    await node.drop();
    await node.settled();
    console.log(JSON.stringify({
      moves: moves.length, handlers: summary(moves.map((move) => move.handlers)), scripts: summary(moves.map((move) => move.scripts)),
      ours: mean, idle_calls: await idleCalls(session, devtools),
    }));
  } finally {
    await close();
  }
}

await main();
