// What can be done with a segment, and the field to type a value in. Both float over the page and give focus back.

import { element, placeUnder } from "./dom.js";

/** @typedef {{action: string, value: string, text: string, run: () => void}} Item */

/** @param {HTMLElement} anchor @param {string} label @param {Item[]} items */
export function openMenu(anchor, label, items) {
  const menu = element("div", "lumina-menu", { role: "menu", "aria-label": label });
  const buttons = items.map(({ action, value, text, run }) => {
    const item = element("button", "lumina-item", { type: "button", role: "menuitem", "data-action": action, "data-value": value }, text);
    item.addEventListener("click", () => {
      close();
      run();
    });
    return item;
  });
  menu.append(...buttons);
  const close = float(menu, anchor);
  menu.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons.at(to % buttons.length)?.focus();
  });
  buttons[0]?.focus();
}

/** @param {HTMLElement} anchor @param {string} label @param {string} text @param {(text: string) => void} take */
export function openEntry(anchor, label, text, take) {
  const box = element("div", "lumina-entry");
  const field = element("label", "", {}, label);
  const input = element("input", "", { type: "text", spellcheck: "false" });
  input.value = text;
  field.append(input);
  box.append(field);
  const close = float(box, anchor);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    close();
    take(input.value);
  });
  input.select();
}

/** Show it until Escape, or until something else is touched; returns what closes it. @param {HTMLElement} popup @param {HTMLElement} anchor */
function float(popup, anchor) {
  const outside = (/** @type {Event} */ event) => {
    if (!popup.contains(/** @type {Node} */ (event.target))) close(false);
  };
  function close(back = true) {
    removeEventListener("pointerdown", outside, true);
    removeEventListener("wheel", outside, true);
    popup.remove();
    if (back) anchor.focus();
  }
  popup.addEventListener("keydown", (event) => {
    // Nothing typed here is a command to the host.
    event.stopPropagation();
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      close();
    }
  });
  addEventListener("pointerdown", outside, true);
  addEventListener("wheel", outside, true);
  placeUnder(popup, anchor);
  return close;
}
