// The published types, with the node's under the name that the published file keeps to itself.
export * from "./node_modules/@comfyorg/comfyui-frontend-types/index.d.ts";
export type LGraphNode = Parameters<NonNullable<import("./node_modules/@comfyorg/comfyui-frontend-types/index.d.ts").ComfyExtension["nodeCreated"]>>[0];
