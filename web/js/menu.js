// A menu, and a field to type in. Both float over the page and give the focus back.

import { arrow, element, take } from "./dom.js";

/** @type {T.openMenu} */
export function openMenu(anchor, ariaLabel, items) {
  const buttons = items.map(({ text, run, data: dataset }) => {
    const item = element("button", "lumina-item", { type: "button", role: "menuitem", dataset }, text);
    item.onclick = () => {
      menu.hidePopover();
      run();
    };
    return item;
  });
  const menu = element("div", "lumina-menu", { role: "menu", ariaLabel }, ...buttons);
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

/** @type {T.openEntry} */
export function openEntry(anchor, label, value, enter) {
  const input = element("input", "", { value, spellcheck: false });
  const box = element("label", "lumina-entry", {}, label, input);
  float(box, anchor);
  input.onkeydown = ({ key }) => {
    if (key !== "Enter") return;
    box.hidePopover();
    enter(input.value);
  };
  input.select();
}

/** @type {T.float} */
function float(popup, anchor) {
  popup.popover = "auto";
  popup.ontoggle = (event) => event.newState === "closed" && popup.remove();
  // Nothing typed here is a command to the host.
  popup.onkeydown = (event) => event.stopPropagation();
  document.body.append(popup);
  popup.showPopover();
  const { left, top, bottom } = anchor.getBoundingClientRect();
  const { width, height } = popup.getBoundingClientRect();
  popup.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  popup.style.top = `${bottom + height + 8 < innerHeight ? bottom + 4 : Math.max(4, top - height - 4)}px`;
}
