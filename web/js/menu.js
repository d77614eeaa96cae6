// A menu, and a field to type in. Both float over the page and give the focus back.

import { arrow, element, take } from "./dom.js";

/** @param {HTMLElement} anchor @param {string} ariaLabel @param {MenuItem[]} items */
export function openMenu(anchor, ariaLabel, items) {
  const menu = element("div", "lumina-menu", { role: "menu", ariaLabel });
  const close = () => menu.remove();
  const buttons = items.map(({ action, value, text, run }) => {
    const onclick = () => {
      close();
      anchor.focus();
      run();
    };
    return element("button", "lumina-item", { type: "button", role: "menuitem", onclick, dataset: { action, value } }, text);
  });
  menu.append(...buttons);
  float(menu, anchor);
  menu.addEventListener("keydown", (event) => {
    const way = arrow(event);
    if (!way) return;
    take(event);
    const at = buttons.findIndex((button) => button === document.activeElement);
    buttons.at((at - way) % buttons.length)?.focus();
  });
  buttons[0].focus();
}

/** @param {HTMLElement} anchor @param {string} label @param {string} value @param {(text: string) => void} enter */
export function openEntry(anchor, label, value, enter) {
  const input = element("input", "", { value, spellcheck: false });
  const box = element("label", "lumina-entry", {}, label, input);
  float(box, anchor);
  input.onkeydown = ({ key }) => {
    if (key !== "Enter") return;
    box.remove();
    anchor.focus();
    enter(input.value);
  };
  input.select();
}

/** Show it until Escape, or until something else is touched. @param {HTMLElement} popup @param {HTMLElement} anchor */
function float(popup, anchor) {
  const outside = (/** @type {Event} */ { target }) => {
    if (popup.contains(/** @type {Node} */ (target))) return;
    popup.remove();
    for (const name of ["pointerdown", "wheel"]) removeEventListener(name, outside, true);
  };
  for (const name of ["pointerdown", "wheel"]) addEventListener(name, outside, true);
  popup.addEventListener("keydown", (event) => {
    // Nothing typed here is a command to the host.
    event.stopPropagation();
    if (event.key !== "Escape" && event.key !== "Tab") return;
    event.preventDefault();
    popup.remove();
    anchor.focus();
  });
  document.body.append(popup);
  const at = anchor.getBoundingClientRect();
  const { width, height } = popup.getBoundingClientRect();
  const top = at.bottom + height + 8 < innerHeight ? at.bottom + 4 : at.top - height - 4;
  popup.style.inset = `${Math.max(4, top)}px auto auto ${Math.max(4, Math.min(at.left, innerWidth - width - 4))}px`;
}
