// What the host serves as /scripts/api.js.
export const api: import("@comfyorg/comfyui-frontend-types").ComfyApi;
