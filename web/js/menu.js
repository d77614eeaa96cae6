// A menu, and a field to type in. Both float over the page and give the focus back.

import { element, take } from "./dom.js";

/** @param {HTMLElement} anchor @param {string} label @param {MenuItem[]} items */
export function openMenu(anchor, label, items) {
  const menu = element("div", "lumina-menu", { role: "menu", "aria-label": label });
  const buttons = items.map(({ action, value, text, run }) => {
    const data = { type: "button", role: "menuitem", "data-action": action, "data-value": value };
    const item = element("button", "lumina-item", data, text);
    item.onclick = () => {
      close();
      run();
    };
    return item;
  });
  menu.append(...buttons);
  const close = float(menu, anchor);
  menu.addEventListener("keydown", (event) => {
    const at = buttons.findIndex((button) => button === document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    take(event);
    buttons.at(to % buttons.length)?.focus();
  });
  buttons[0].focus();
}

/** @param {HTMLElement} anchor @param {string} label @param {string} text @param {(text: string) => void} enter */
export function openEntry(anchor, label, text, enter) {
  const box = element("label", "lumina-entry", {}, label);
  const input = element("input", "", { spellcheck: false });
  input.value = text;
  box.append(input);
  const close = float(box, anchor);
  input.addEventListener("keydown", ({ key }) => {
    if (key !== "Enter") return;
    close();
    enter(input.value);
  });
  input.select();
}

/** Show it until Escape, or until something else is touched; returns what closes it. @param {HTMLElement} popup @param {HTMLElement} anchor */
function float(popup, anchor) {
  const done = new AbortController();
  const close = () => {
    done.abort();
    popup.remove();
    anchor.focus();
  };
  const outside = (/** @type {Event} */ { target }) => popup.contains(/** @type {Node} */ (target)) || close();
  for (const name of ["pointerdown", "wheel"]) addEventListener(name, outside, { capture: true, signal: done.signal });
  popup.addEventListener("keydown", (event) => {
    // Nothing typed here is a command to the host.
    event.stopPropagation();
    if (!["Escape", "Tab"].includes(event.key)) return;
    event.preventDefault();
    close();
  });
  document.body.append(popup);
  const at = anchor.getBoundingClientRect();
  const { width, height } = popup.getBoundingClientRect();
  const below = at.bottom + 4;
  popup.style.left = `${Math.max(4, Math.min(at.left, innerWidth - width - 4))}px`;
  popup.style.top = `${Math.max(4, below + height < innerHeight ? below : at.top - height - 4)}px`;
  return close;
}
