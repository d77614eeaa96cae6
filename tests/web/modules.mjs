// The page's own modules for Node: what it serves as .js is an ES module there, and here only beside a package.json that
// says so, hence a copy. The host's two scripts, which some modules import, are left out: pure modules need none.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const SCRIPTS = join(ROOT, "web", "js");
export const FIXTURE = JSON.parse(readFileSync(join(ROOT, "tests", "fixtures", "schedules.json"), "utf8"));

const copy = mkdtempSync(join(tmpdir(), "lumina-modules-"));
cpSync(SCRIPTS, copy, { recursive: true });
writeFileSync(join(copy, "package.json"), '{"type": "module"}');
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));

/** A module of web/js by its file name. */
export const load = (name) => import(pathToFileURL(join(copy, name)).href);
