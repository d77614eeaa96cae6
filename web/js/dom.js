// Making elements, and dragging them.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {string} className @param {Record<string, unknown>} [attributes] @param {string} [text]
 */
export function element(tag, className, attributes = {}, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.textContent = text;
  return made;
}

/** Where along `track` the pointer is, 0 to 1, whatever the zoom. @param {HTMLElement} track @param {MouseEvent} event */
export function shareAt(track, event) {
  const { left, width } = track.getBoundingClientRect();
  return (event.clientX - left) / width;
}

/** @param {HTMLElement} handle @param {HTMLElement} track @param {(share: number) => void} move @param {() => void} end */
export function makeDraggable(handle, track, move, end) {
  handle.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    take(event);
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = (at) => move(shareAt(track, at));
    handle.onlostpointercapture = () => {
      handle.onpointermove = handle.onlostpointercapture = null;
      end();
    };
  });
}

/** This event is ours, not the host's. @param {Event} event */
export function take(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** 1 or -1 for an arrow key, else undefined. @param {KeyboardEvent} event */
export function arrow({ key }) {
  return { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[key];
}
