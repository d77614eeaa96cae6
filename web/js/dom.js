// Making elements, and dragging them.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {string} className @param {Record<string, any>} [properties] @param {(Node | string)[]} children
 */
export function element(tag, className, { dataset, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), { className }, properties);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** Where along `track` the pointer is, 0 to 1, whatever the zoom. @param {HTMLElement} track @param {MouseEvent} event */
export function shareAt(track, { clientX }) {
  const { left, width } = track.getBoundingClientRect();
  return (clientX - left) / width;
}

/** @param {HTMLElement} handle @param {HTMLElement} track @param {(share: number) => void} move @param {() => void} end */
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

/** This event is ours, not the host's. @param {Event} event */
export function take(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** 1 or -1 for an arrow key. @param {KeyboardEvent} event */
export const arrow = ({ key }) => ({ ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 })[key] ?? 0;
