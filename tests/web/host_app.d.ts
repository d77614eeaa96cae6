// What the host serves as /scripts/app.js.
export const app: import("@comfyorg/comfyui-frontend-types").ComfyApp;
