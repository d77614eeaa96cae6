// Making elements, and dragging them.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {string} className @param {Record<string, any>} [properties] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, className, { dataset, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), { className }, properties);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** @type {T.shareAt} */
export function shareAt(track, { clientX }) {
  const { left, width } = track.getBoundingClientRect();
  return (clientX - left) / width;
}

/** @type {T.makeDraggable} */
export function makeDraggable(handle, track, move, end) {
  handle.onpointerdown = (event) => {
    if (event.button) return;
    take(event);
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = (at) => move(shareAt(track, at));
    handle.onlostpointercapture = () => {
      handle.onpointermove = handle.onlostpointercapture = null;
      end();
    };
  };
}

/** @type {T.take} */
export function take(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** @type {T.arrow} */
export const arrow = ({ key }) => ({ ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 })[key] ?? 0;
