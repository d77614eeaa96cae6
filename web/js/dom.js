// Making elements.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {string} className @param {Record<string, string | number>} [attributes] @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, className, attributes = {}, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.textContent = text;
  return made;
}

/** Put `popup` under `anchor`, inside the window. @param {HTMLElement} popup @param {HTMLElement} anchor */
export function placeUnder(popup, anchor) {
  document.body.append(popup);
  const at = anchor.getBoundingClientRect();
  const size = popup.getBoundingClientRect();
  popup.style.left = `${Math.max(4, Math.min(at.left, innerWidth - size.width - 4))}px`;
  const below = at.bottom + 4;
  popup.style.top = `${Math.max(4, below + size.height < innerHeight ? below : at.top - size.height - 4)}px`;
}
