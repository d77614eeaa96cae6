// Without the script, and without the server's routes: nodes with text fields that work.
import assert from "node:assert/strict";
import { check, until } from "./check.mjs";

const PATCH = "LuminaVideoPatchSchedule";

check("routes gone: text still works, nothing is lost", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await session.without("**/lumina-video/plan", async () => {
    await node.type("patch", "2x4 | 0.2: 1x2");
    await node.settled("offline");
    await node.holds("patch", "2x4 | 0.2: 1x2");
    const second = await session.add(PATCH, {}, [800, 60]);
    await until(() => second.shown(), (shown) => shown?.state === "offline", "offline from the start");
    await second.holds("patch", "2x4 | 0.03: 2x2 | 0.125: 1x2");
  });
  await node.type("patch", "2x4 | 0.3: 1x2");
  await node.settled();
  await node.is("patch", "2x4 | 0.3: 1x2", ["2x4", "1x2"], [0.3]);
});

check("script blocked: text fields only, the same prompts", async (session) => {
  const prompts = async (page) => {
    const found = {};
    for (const name of ["1_mini_text_to_video", "multi_scale", "ksampler"]) {
      await page.load(name);
      found[name] = (await page.ask("prompt")).output;
    }
    return found;
  };
  const wanted = await prompts(session);
  const blocked = await session.another("**/extensions/lumina-video/js/**");
  try {
    assert.deepEqual(await prompts(blocked), wanted);
    const node = await blocked.fresh(PATCH);
    assert.equal(await blocked.page.locator(".lumina-timeline").count(), 0);
    await node.type("patch", "2x4 | 0.2: 1x2");
    await node.holds("patch", "2x4 | 0.2: 1x2");
  } finally {
    await blocked.page.close();
    await session.page.bringToFront();
  }
});
