// web/js is typed by JSDoc; TypeScript checks it against the published types of the front end.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("./", import.meta.url));
const compiler = join(here, "node_modules", "typescript", "bin", "tsc");
const types = join(here, "node_modules", "@comfyorg", "comfyui-frontend-types");
const skip = !(existsSync(compiler) && existsSync(types)) && "needs typescript: run `npm install` in tests/web";

test("types of web/js", { skip }, () => {
  const done = spawnSync(process.execPath, [compiler, "--noEmit", "-p", join(here, "tsconfig.json")], { encoding: "utf8" });
  assert.equal(done.stdout.trim(), "");
  assert.equal(done.status, 0);
});
