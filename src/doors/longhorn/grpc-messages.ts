import type { CopyState } from '../../core/states.ts';
import type { NamedImageView } from '../../service/host/named-images.ts';
import type { BackingImageState } from './backing-image.ts';

/** The messages of backing-image-manager.proto as grpc-js hands them over; every field is there, empty when it was not sent. */
export interface BackingImageSpec {
  readonly name: string;
  readonly url: string;
  readonly uuid: string;
  readonly size: number;
  readonly directory: string;
}
export interface BackingImageResponse {
  readonly spec: BackingImageSpec;
  readonly status: {
    readonly state: string;
    readonly error_msg: string;
    readonly sending_reference: number;
    readonly sender_manager_address: string;
    readonly progress: number;
    readonly upload_port: number;
  };
}
export interface SpecRequest {
  readonly spec: BackingImageSpec | null;
}
export interface SyncRequest {
  readonly backing_image_spec: BackingImageSpec | null;
  readonly from_host: string;
  readonly to_host: string;
}
export interface SendRequest {
  readonly name: string;
  readonly to_address: string;
}
export interface NameRequest {
  readonly name: string;
}

const states = {
  pending: 'pending',
  'in-progress': 'in-progress',
  ready: 'ready',
  unknown: 'unknown',
  failed: 'failed',
} as const satisfies Record<NamedImageView['state'] & CopyState, BackingImageState>;

export interface Sending {
  /** Transfers of it that are under way from here. */
  readonly references: number;
  /** Where it comes from. */
  readonly sender: string;
}

export function responseOf(view: NamedImageView, { references, sender }: Sending): BackingImageResponse {
  return {
    spec: { name: view.name, url: '', uuid: view.imageId, size: view.size ?? 0, directory: '' },
    status: {
      state: states[view.state],
      error_msg: view.problem,
      sending_reference: references,
      sender_manager_address: sender,
      progress: view.progress,
      upload_port: view.uploadPort,
    },
  };
}
