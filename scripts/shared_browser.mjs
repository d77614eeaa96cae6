// A browser that several scripts share, until standard input ends. Prints its address, which they want in LUMINA_BROWSER.
//   node scripts/shared_browser.mjs
import { shareBrowser } from "./frontend_browser.mjs";

const browser = await shareBrowser();
console.log(browser.wsEndpoint());
for await (const _ of process.stdin);
await browser.close();
