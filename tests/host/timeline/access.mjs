// axe-core on the timeline and its menu, in both themes; and names for whoever does not see them.
import assert from "node:assert/strict";
import { locate } from "../../../scripts/frontend_browser.mjs";
import { check, until } from "./check.mjs";

const SAMPLER = "LuminaVideoMultiScaleSampler";
const axe = locate("axe-core/axe.min.js");

/** What axe finds serious in these parts of the page. */
async function serious(session, selector) {
  if (!(await session.page.evaluate(() => "axe" in window))) await session.page.addScriptTag({ path: axe });
  const found = await session.page.evaluate(async (parts) => {
    const { violations } = await window.axe.run({ include: [[parts]] }, { resultTypes: ["violations"] });
    return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`) }));
  }, selector);
  return found.filter(({ impact }) => impact === "serious" || impact === "critical");
}

async function accessible(session, palette) {
  await session.palette(palette);
  try {
    const node = await session.fresh(SAMPLER);
    await node.settled();
    assert.deepEqual(await serious(session, ".lumina-timeline"), []);
    await node.segment("guidance", 0).click();
    assert.deepEqual(await serious(session, ".lumina-menu"), []);
    await session.page.locator('.lumina-menu [data-action="type"]').click();
    assert.deepEqual(await serious(session, ".lumina-entry"), []);
    await session.page.keyboard.press("Escape");
    await node.ask("put", "patch", "2x4 | 0.3");
    await node.settled("error");
    assert.deepEqual(await serious(session, ".lumina-timeline"), []);
  } finally {
    await session.palette("dark");
  }
}

check("axe finds nothing serious: dark palette", (session) => accessible(session, "dark"));

check("axe finds nothing serious: light palette", (session) => accessible(session, "light"));

check("every part can be reached by Tab and has a name", async (session) => {
  const node = await session.fresh(SAMPLER, { patch: "2x4 | 0.3: 1x2" });
  await node.settled();
  await node.focus(node.part(".lumina-segment").first());
  const wanted = await node.part('.lumina-segment:not([disabled]), [role="slider"]').count();
  const seen = [];
  for (let presses = 0; presses < wanted; presses += 1) {
    seen.push(await session.page.evaluate(() => {
      const at = document.activeElement;
      return at.closest(".lumina-timeline") && { name: at.getAttribute("aria-label"), value: at.getAttribute("aria-valuetext") ?? at.textContent };
    }));
    await session.page.keyboard.press("Tab");
  }
  assert.ok(seen.every((part) => part?.name), JSON.stringify(seen));
  assert.equal(seen.length, wanted);
  await until(() => session.page.evaluate(() => Boolean(document.activeElement.closest(".lumina-timeline"))), false, "Tab leaves the timeline");
});
